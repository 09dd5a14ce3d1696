#include "tests/integration/api_client.h"

#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include <array>
#include <charconv>
#include <cstring>

namespace mote::integration {
namespace {

constexpr time_t kDeadlineSeconds = 20;

/// The bytes of the body a head announces; 0 when it announces none.
size_t content_length(std::string_view head) {
  constexpr std::string_view kField = "Content-Length: ";
  const size_t at = head.find(kField);
  size_t length = 0;
  if (at == std::string_view::npos) return 0;
  std::from_chars(head.data() + at + kField.size(), head.data() + head.size(), length);
  return length;
}

}  // namespace

ApiClient::ApiClient(const std::string& socket_path)
    : socket_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (socket_path.size() >= sizeof(address.sun_path)) {
    socket_.reset();
    return;
  }
  std::memcpy(address.sun_path, socket_path.data(), socket_path.size());
  const timeval deadline{kDeadlineSeconds, 0};
  ::setsockopt(socket_.get(), SOL_SOCKET, SO_RCVTIMEO, &deadline, sizeof(deadline));
  ::setsockopt(socket_.get(), SOL_SOCKET, SO_SNDTIMEO, &deadline, sizeof(deadline));
  if (::connect(socket_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    socket_.reset();
  }
}

bool ApiClient::send(std::string_view bytes) const {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) return false;
    bytes.remove_prefix(static_cast<size_t>(sent));
  }
  return true;
}

void ApiClient::finish_sending() const {
  ::shutdown(socket_.get(), SHUT_WR);
}

Response ApiClient::receive() {
  std::array<char, 4096> chunk{};
  while (true) {
    const size_t head_end = received_.find("\r\n\r\n");
    if (head_end != std::string::npos) {
      const size_t body_at = head_end + 4;
      const size_t size = content_length(std::string_view(received_).substr(0, head_end));
      if (received_.size() >= body_at + size) {
        Response response;
        if (received_.starts_with("HTTP/1.1 ")) {
          std::from_chars(received_.data() + 9, received_.data() + 12, response.status);
        }
        response.body = received_.substr(body_at, size);
        received_.erase(0, body_at + size);
        return response;
      }
    }
    const ssize_t got = ::recv(socket_.get(), chunk.data(), chunk.size(), 0);
    if (got <= 0) return {};
    received_.append(chunk.data(), static_cast<size_t>(got));
  }
}

std::optional<std::string> ApiClient::receive_all() const {
  std::string all;
  std::array<char, 4096> chunk{};
  while (true) {
    const ssize_t got = ::recv(socket_.get(), chunk.data(), chunk.size(), 0);
    if (got == 0 || (got < 0 && errno == ECONNRESET)) return all;
    if (got < 0) return std::nullopt;
    all.append(chunk.data(), static_cast<size_t>(got));
  }
}

Response ApiClient::request(std::string_view method, std::string_view path, std::string_view body) {
  std::string text = std::string(method) + ' ' + std::string(path) + " HTTP/1.1\r\nHost: mote\r\n";
  if (!body.empty()) {
    text +=
        "Content-Type: application/json\r\nContent-Length: " + std::to_string(body.size()) + "\r\n";
  }
  text += "\r\n";
  text += body;
  if (!send(text)) return {};
  return receive();
}

}  // namespace mote::integration
