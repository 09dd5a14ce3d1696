#include "devices/mmds/http_session.h"

#include <utility>

namespace mote::mmds {

// Otherwise a head without an end would close our window before it is refused.
static_assert(TcpConnection::kReceiveBytes > http::Parser::kHeaderLimitBytes);

void HttpSession::serve(TcpConnection& connection, Service& service, uint64_t now_ns) {
  while (!closed_ && connection.output_empty()) {
    switch (parser_.advance(connection.input())) {
      case http::ParseState::kNeedMore:
        if (connection.peer_finished()) close(connection);
        return;
      case http::ParseState::kNeedContinue:
        connection.send(http::format_response({.status = 100}));
        return;
      case http::ParseState::kBad:
        connection.send(http::format_response({.status = 400,
                                               .body = parser_.error(),
                                               .content_type = "text/plain",
                                               .use = http::ConnectionUse::kClosed}));
        close(connection);
        break;
      case http::ParseState::kComplete: {
        Service::Answer answer = service.answer(parser_, now_ns);
        connection.send(std::move(answer.bytes));
        if (answer.use == http::ConnectionUse::kClosed) close(connection);
        break;
      }
    }
  }
  if (closed_) connection.input().clear();  // Nobody reads it any more.
}

void HttpSession::close(TcpConnection& connection) {
  closed_ = true;
  connection.input().clear();
  connection.close();
}

}  // namespace mote::mmds
