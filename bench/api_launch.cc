#include "bench/api_launch.h"

#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/clock.h"

namespace mote::bench {
namespace {

double ms_since(uint64_t start_ns) {
  return static_cast<double>(base::monotonic_ns() - start_ns) / 1e6;
}

/// Connects, trying again until the monitor listens; gives up after ten seconds.
base::Result<base::UniqueFd> connect_when_ready(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path)) {
    return base::fail(base::ErrorCode::kInvalidArgument, path + " is too long for a socket");
  }
  std::memcpy(address.sun_path, path.c_str(), path.size());
  const uint64_t start_ns = base::monotonic_ns();
  while (ms_since(start_ns) < 10'000) {
    base::UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0) {
      return fd;
    }
    ::usleep(20);
  }
  return base::fail_errno(errno, path);
}

/// Sends one request and reads one answer, which has to be a 2xx.
base::Result<> request(int fd, const std::string& head, const std::string& body) {
  std::string text = head + " HTTP/1.1\r\nHost: localhost\r\n";
  if (!body.empty()) {
    text +=
        "Content-Type: application/json\r\nContent-Length: " + std::to_string(body.size()) + "\r\n";
  }
  text += "\r\n" + body;
  if (::send(fd, text.data(), text.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(text.size())) {
    return base::fail_errno(errno, head);
  }
  char answer[4096];
  const ssize_t got = ::recv(fd, answer, sizeof(answer), 0);
  if (got < 12) return base::fail(base::ErrorCode::kInternal, head + ": no answer");
  if (answer[9] != '2') {
    return base::fail(base::ErrorCode::kInternal,
                      head + ": " + std::string(answer, static_cast<size_t>(got)));
  }
  return {};
}

base::Result<> drive(const Guest& guest, int fd, uint64_t& start_ns) {
  MOTE_TRY_VOID(request(
      fd, "PUT /boot-source",
      R"({"kernel_image_path":")" + guest.kernel + R"(","boot_args":")" + guest.args + R"("})"));
  MOTE_TRY_VOID(
      request(fd, "PUT /machine-config",
              R"({"vcpu_count":1,"mem_size_mib":)" + std::to_string(guest.memory_mib) + "}"));
  start_ns = base::monotonic_ns();
  return request(fd, "PUT /actions", R"({"action_type":"InstanceStart"})");
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
    MOTE_TRY(const auto fd, connect_when_ready(socket));
    MOTE_TRY_VOID(request(fd.get(), "GET /", ""));
    launch.ready_ms = ms_since(exec_ns);
    return drive(guest, fd.get(), start_ns);
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
