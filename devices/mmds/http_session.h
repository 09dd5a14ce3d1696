#pragma once
// HTTP/1.1 on one connection of a guest: requests out of what it sent, one answer after the other.
// The next request waits, and with it the guest's window, until the answer is acknowledged.

#include <cstdint>

#include "devices/mmds/service.h"
#include "devices/mmds/tcp_connection.h"
#include "http/parser.h"

namespace mote::mmds {

class HttpSession final {
 public:
  /// No request to the service has a body that matters.
  static constexpr size_t kBodyLimitBytes = 1024;

  HttpSession() : parser_(kBodyLimitBytes) {}

  /// Answers what can be answered now.
  void serve(TcpConnection& connection, Service& service, uint64_t now_ns);

 private:
  void close(TcpConnection& connection);

  http::Parser parser_;
  bool closed_ = false;
};

}  // namespace mote::mmds
