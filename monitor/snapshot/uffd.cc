#include "monitor/snapshot/uffd.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>

#include "memory/layout.h"

namespace mote::monitor::snapshot {
namespace {

base::Result<base::UniqueFd> open_userfaultfd() {
  // KVM's own accesses fault in kernel mode, so "user mode only" would not do.
  base::UniqueFd fd(static_cast<int>(::syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK)));
  if (!fd.valid()) {
    const base::UniqueFd device(::open("/dev/userfaultfd", O_RDWR | O_CLOEXEC));
    if (device.valid()) {
      fd.reset(::ioctl(device.get(), USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK));
    }
  }
  if (!fd.valid()) {
    return base::fail_errno(errno,
                            "userfaultfd (needs /dev/userfaultfd, CAP_SYS_PTRACE or "
                            "vm.unprivileged_userfaultfd=1)");
  }
  uffdio_api api{.api = UFFD_API, .features = 0, .ioctls = 0};
  if (::ioctl(fd.get(), UFFDIO_API, &api) != 0) return base::fail_errno(errno, "UFFDIO_API");
  return fd;
}

base::Result<base::UniqueFd> connect_to(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof(address.sun_path)) {
    return base::fail(base::ErrorCode::kInvalidArgument, "\"" + path + "\" is no socket's path");
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  base::UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return base::fail_errno(errno, "socket");
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    return base::fail_errno(errno, "cannot connect to " + path);
  }
  return fd;
}

base::Result<> send_with_fd(int socket, const std::string& text, int passed_fd) {
  iovec part{const_cast<char*>(text.data()), text.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof(control);
  cmsghdr* const header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(int));
  std::memcpy(CMSG_DATA(header), &passed_fd, sizeof(passed_fd));
  if (::sendmsg(socket, &message, MSG_NOSIGNAL) != static_cast<ssize_t>(text.size())) {
    return base::fail_errno(errno, "the page-fault handler does not listen");
  }
  return {};
}

}  // namespace

base::Result<base::UniqueFd> hand_over_faults(const memory::GuestMemory& memory,
                                              const std::string& socket_path) {
  MOTE_TRY(const auto socket, connect_to(socket_path));
  MOTE_TRY(auto uffd, open_userfaultfd());
  std::string regions;
  uint64_t offset = 0;
  for (const auto& region : memory.regions()) {
    const auto address = reinterpret_cast<uint64_t>(region.mapping.data());
    uffdio_register request{};
    request.range = {.start = address, .len = region.size_bytes()};
    request.mode = UFFDIO_REGISTER_MODE_MISSING;
    if (::ioctl(uffd.get(), UFFDIO_REGISTER, &request) != 0) {
      return base::fail_errno(errno, "UFFDIO_REGISTER");
    }
    regions += fmt::format(
        R"({}{{"base_host_virt_addr":{},"size":{},"offset":{},"page_size":{},"page_size_kib":{}}})",
        regions.empty() ? "" : ",", address, region.size_bytes(), offset, memory::layout::kPageSize,
        memory::layout::kPageSize);
    offset += region.size_bytes();
  }
  MOTE_TRY_VOID(send_with_fd(socket.get(), "[" + regions + "]", uffd.get()));
  return uffd;
}

}  // namespace mote::monitor::snapshot
