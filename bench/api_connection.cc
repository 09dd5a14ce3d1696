#include "bench/api_connection.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/clock.h"

namespace mote::bench {

double ms_since(uint64_t start_ns) {
  return static_cast<double>(base::monotonic_ns() - start_ns) / 1e6;
}

base::Result<ApiConnection> ApiConnection::connect_when_ready(const std::string& socket) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (socket.size() >= sizeof(address.sun_path)) {
    return base::fail(base::ErrorCode::kInvalidArgument, socket + " is too long for a socket");
  }
  std::memcpy(address.sun_path, socket.c_str(), socket.size());
  const uint64_t start_ns = base::monotonic_ns();
  while (ms_since(start_ns) < 10'000) {
    base::UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0) {
      return ApiConnection(std::move(fd));
    }
    ::usleep(20);
  }
  return base::fail_errno(errno, socket);
}

base::Result<> ApiConnection::request(const std::string& head, const std::string& body) const {
  std::string text = head + " HTTP/1.1\r\nHost: localhost\r\n";
  if (!body.empty()) {
    text +=
        "Content-Type: application/json\r\nContent-Length: " + std::to_string(body.size()) + "\r\n";
  }
  text += "\r\n" + body;
  if (::send(fd_.get(), text.data(), text.size(), MSG_NOSIGNAL) !=
      static_cast<ssize_t>(text.size())) {
    return base::fail_errno(errno, head);
  }
  char answer[4096];
  const ssize_t got = ::recv(fd_.get(), answer, sizeof(answer), 0);
  if (got < 12) return base::fail(base::ErrorCode::kInternal, head + ": no answer");
  if (answer[9] != '2') {
    return base::fail(base::ErrorCode::kInternal,
                      head + ": " + std::string(answer, static_cast<size_t>(got)));
  }
  return {};
}

}  // namespace mote::bench
