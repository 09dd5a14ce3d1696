#include "tests/integration/page_server.h"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <boost/json.hpp>
#include <cstring>

namespace mote::integration {
namespace {

constexpr uint64_t kPage = 4096;

}  // namespace

PageServer::PageServer(const std::string& socket_path, const std::string& memory_file)
    : memory_file_(memory_file),
      listener_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)),
      stop_(::eventfd(0, EFD_CLOEXEC)) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, socket_path.c_str(), sizeof(address.sun_path) - 1);
  if (::bind(listener_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0 ||
      ::listen(listener_.get(), 1) != 0) {
    complain("cannot listen on " + socket_path);
    return;
  }
  thread_ = std::jthread([this] { serve(); });
}

PageServer::~PageServer() {
  ::eventfd_write(stop_.get(), 1);
}

bool PageServer::complain(std::string reason) {
  complaint_ = std::move(reason);
  complained_ = true;
  return false;
}

/// Waits for `fd`; true when the server should end instead.
bool PageServer::stopping(int fd) const {
  std::array<pollfd, 2> waiting = {{{fd, POLLIN, 0}, {stop_.get(), POLLIN, 0}}};
  return ::poll(waiting.data(), waiting.size(), -1) < 0 || waiting[1].revents != 0 ||
         (waiting[0].revents & POLLIN) == 0;
}

void PageServer::serve() {
  if (stopping(listener_.get())) return;
  const base::UniqueFd connection(::accept(listener_.get(), nullptr, nullptr));
  if (stopping(connection.get())) return;
  base::UniqueFd uffd;
  if (!receive_regions(connection.get(), uffd)) return;
  const base::UniqueFd file(::open(memory_file_.c_str(), O_RDONLY | O_CLOEXEC));
  struct stat status {};
  ::fstat(file.get(), &status);
  const auto size = static_cast<uint64_t>(status.st_size);
  void* const memory = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.get(), 0);
  if (memory == MAP_FAILED) {
    complain("cannot map " + memory_file_);
    return;
  }
  while (!stopping(uffd.get()) && serve_one(uffd.get(), static_cast<std::byte*>(memory), size)) {
  }
  ::munmap(memory, size);
}

bool PageServer::receive_regions(int connection, base::UniqueFd& uffd) {
  std::array<char, 4096> text{};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
  iovec part{text.data(), text.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  const ssize_t got = ::recvmsg(connection, &message, MSG_CMSG_CLOEXEC);
  const cmsghdr* const header = CMSG_FIRSTHDR(&message);
  if (got <= 0 || header == nullptr || header->cmsg_type != SCM_RIGHTS) {
    return complain("no descriptor came with the regions");
  }
  int fd = -1;
  std::memcpy(&fd, CMSG_DATA(header), sizeof(fd));
  uffd.reset(fd);
  boost::json::error_code error;
  const auto list = boost::json::parse({text.data(), static_cast<size_t>(got)}, error);
  if (error || !list.is_array() || list.get_array().empty()) return complain("no list of regions");
  for (const auto& item : list.get_array()) {
    const auto* const object = item.if_object();
    const auto number = [&](const char* name) {
      const auto* const value = object != nullptr ? object->if_contains(name) : nullptr;
      return value != nullptr && value->is_int64() ? static_cast<uint64_t>(value->get_int64())
                                                   : UINT64_MAX;
    };
    regions_.push_back({number("base_host_virt_addr"), number("size"), number("offset")});
    // The reference's clients read the page's size in bytes from either name.
    if (regions_.back().address == UINT64_MAX || regions_.back().size_bytes == UINT64_MAX ||
        regions_.back().offset == UINT64_MAX || number("page_size") != kPage ||
        number("page_size_kib") != kPage) {
      return complain("a region lacks a field: " + boost::json::serialize(item));
    }
  }
  return true;
}

bool PageServer::serve_one(int uffd, const std::byte* memory, uint64_t memory_bytes) {
  uffd_msg message{};
  const ssize_t got = ::read(uffd, &message, sizeof(message));
  if (got < 0 && errno == EAGAIN) return true;
  if (got != sizeof(message)) return complain("a message of another size");
  if (message.event != UFFD_EVENT_PAGEFAULT) return complain("an event that was not asked for");
  const uint64_t address = message.arg.pagefault.address & ~(kPage - 1);
  for (const Region& region : regions_) {
    if (address < region.address || address - region.address >= region.size_bytes) continue;
    const uint64_t offset = region.offset + (address - region.address);
    if (offset + kPage > memory_bytes) return complain("a page behind the memory file");
    uffdio_copy copy{};
    copy.dst = address;
    copy.src = reinterpret_cast<uint64_t>(memory + offset);
    copy.len = kPage;
    if (::ioctl(uffd, UFFDIO_COPY, &copy) == 0) {
      ++pages_served_;
    } else if (errno == ESRCH) {
      return false;  // The monitor ended.
    } else if (errno != EEXIST) {
      return complain(std::string("UFFDIO_COPY: ") + std::strerror(errno));
    }
    return true;
  }
  return complain("a fault outside all regions");
}

}  // namespace mote::integration
