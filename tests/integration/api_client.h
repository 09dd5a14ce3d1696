#pragma once
// A small HTTP/1.1 client over a unix socket, for tests: blocking with a deadline, one connection
// an object, and able to send what no honest client would.

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "base/unique_fd.h"

namespace mote::integration {

struct Response {
  unsigned status = 0;  ///< 0: the connection ended or nothing came in time.
  std::string body;
};

class ApiClient final {
 public:
  /// Connects; status 0 is what every request gives when that failed.
  explicit ApiClient(const std::string& socket_path);

  /// One request and its answer; the connection is kept for the next one.
  Response request(std::string_view method, std::string_view path, std::string_view body = {});

  [[nodiscard]] bool connected() const { return socket_.valid(); }
  /// Sends bytes as they are; false when the peer does not take them.
  bool send(std::string_view bytes) const;
  /// Says that no more will be sent.
  void finish_sending() const;
  /// Waits for one whole answer.
  Response receive();
  /// Everything until the peer closes, or nothing when it does not within the deadline.
  std::optional<std::string> receive_all() const;

 private:
  base::UniqueFd socket_;
  std::string received_;
};

}  // namespace mote::integration
