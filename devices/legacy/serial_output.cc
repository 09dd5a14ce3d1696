#include "devices/legacy/serial_output.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>

namespace mote::legacy {
namespace {

// A pipe that polls writable takes this much without blocking (POSIX PIPE_BUF).
constexpr size_t kPipeAtom = 4096;

}  // namespace

base::Result<std::unique_ptr<SerialOutput>> FdSerialOutput::standard_output() {
  base::UniqueFd fd(::fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 0));
  if (!fd.valid()) return base::fail_errno(errno, "standard output is not open");
  return std::make_unique<FdSerialOutput>(std::move(fd));
}

base::Result<std::unique_ptr<SerialOutput>> FdSerialOutput::open(const std::string& path) {
  base::UniqueFd fd(
      ::open(path.c_str(), O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0644));
  if (!fd.valid()) return base::fail_errno(errno, "serial_out_path: cannot open " + path);
  return std::make_unique<FdSerialOutput>(std::move(fd));
}

size_t FdSerialOutput::write(std::span<const std::byte> bytes) {
  size_t taken = 0;
  while (taken < bytes.size()) {
    pollfd ready{fd_.get(), POLLOUT, 0};
    if (::poll(&ready, 1, 0) != 1 || (ready.revents & POLLOUT) == 0) break;
    const size_t chunk = std::min(bytes.size() - taken, kPipeAtom);
    const ssize_t written = ::write(fd_.get(), bytes.data() + taken, chunk);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) break;
    taken += static_cast<size_t>(written);
  }
  return taken;
}

}  // namespace mote::legacy
