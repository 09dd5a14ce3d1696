#include "bench/api_launch.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "bench/api_connection.h"

namespace mote::bench {
namespace {

base::Result<> drive(const Guest& guest, const ApiConnection& api, uint64_t& start_ns) {
  MOTE_TRY_VOID(api.request("PUT /boot-source", R"({"kernel_image_path":")" + guest.kernel +
                                                    R"(","boot_args":")" + guest.args + R"("})"));
  MOTE_TRY_VOID(api.request("PUT /machine-config", R"({"vcpu_count":1,"mem_size_mib":)" +
                                                       std::to_string(guest.memory_mib) + "}"));
  start_ns = base::monotonic_ns();
  return api.request("PUT /actions", R"({"action_type":"InstanceStart"})");
}

}  // namespace

base::Result<ApiLaunch> launch_by_api(const MonitorAdapter& monitor, const Guest& guest,
                                      const std::string& socket) {
  ::unlink(socket.c_str());
  ApiLaunch launch;
  const uint64_t exec_ns = base::monotonic_ns();
  MOTE_TRY(launch.process, spawn(monitor.api_command(socket)));
  uint64_t start_ns = 0;
  const auto run = [&]() -> base::Result<> {
    MOTE_TRY(const auto api, ApiConnection::connect_when_ready(socket));
    MOTE_TRY_VOID(api.request("GET /"));
    launch.ready_ms = ms_since(exec_ns);
    return drive(guest, api, start_ns);
  };
  if (auto outcome = run(); !outcome || !wait_for_guest(launch.process)) {
    ::kill(launch.process.pid, SIGKILL);
    ::waitpid(launch.process.pid, nullptr, 0);
    if (!outcome) return std::unexpected(std::move(outcome).error());
    return base::fail(base::ErrorCode::kInternal, "the guest did not start");
  }
  launch.start_to_first_byte_ms = ms_since(start_ns);
  return launch;
}

}  // namespace mote::bench
