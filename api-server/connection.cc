#include "api-server/connection.h"

#include <sys/socket.h>

#include "api-server/json_codec.h"
#include "api-server/printable.h"
#include "api-server/routes.h"
#include "base/clock.h"

namespace mote::api_server {
namespace {

constexpr uint32_t kReceiveTag = 0;
constexpr uint32_t kSendTag = 1;
/// Pipelined input beyond this waits in the socket.
constexpr size_t kInputLimit = 16 * 1024;
/// Requests wait while so much of earlier answers has not been taken. An answer is far smaller than
/// a request can be, so both limits together bound what one client can make the monitor hold.
constexpr size_t kOutputLimit = 16 * 1024;
/// Who sends more than this after the last answer does not listen any more.
constexpr size_t kDrainLimit = 16 * 1024 * 1024;

}  // namespace

Connection::Connection(ConnectionContext& context, base::UniqueFd fd,
                       std::move_only_function<void()> on_finished)
    : context_(context),
      fd_(std::move(fd)),
      parser_(context.body_limit_bytes),
      on_finished_(std::move(on_finished)),
      last_heard_ns_(base::monotonic_ns()),
      registration_(context.loop, *this) {}

void Connection::close() {
  if (closing()) return;
  phase_ = Phase::kClosing;
  ::shutdown(fd_.get(), SHUT_RDWR);  // Wakes what is in flight.
  if (finished()) on_finished_();
}

void Connection::receive() {
  if (receiving_ || closing() || peer_finished_ || input_.size() >= kInputLimit) return;
  io_uring_prep_recv(context_.loop.prepare(registration_.source(), kReceiveTag), fd_.get(),
                     received_.data(), received_.size(), 0);
  receiving_ = true;
}

void Connection::send_output() {
  if (sending_ || closing()) return;
  if (sent_bytes_ == output_.size()) {
    sent_bytes_ = 0;
    output_.clear();
    output_.swap(pending_);
  }
  if (output_.empty()) return;
  io_uring_prep_send(context_.loop.prepare(registration_.source(), kSendTag), fd_.get(),
                     output_.data() + sent_bytes_, output_.size() - sent_bytes_, MSG_NOSIGNAL);
  sending_ = true;
}

void Connection::on_completion(uint32_t tag, int32_t result, uint32_t) {
  tag == kReceiveTag ? on_received(result) : on_sent(result);
  if (finished()) on_finished_();
}

void Connection::on_received(int32_t result) {
  receiving_ = false;
  if (result == -EINTR || result == -EAGAIN) return receive();
  if (result < 0) return close();
  if (result == 0) {
    peer_finished_ = true;  // It may still wait for answers.
    return end_if_answered();
  }
  const auto size = static_cast<size_t>(result);
  if (phase_ == Phase::kDraining) {
    drained_bytes_ += size;
    if (drained_bytes_ > kDrainLimit) return close();
    return receive();
  }
  last_heard_ns_ = base::monotonic_ns();
  input_.append(received_.data(), size);
  serve();
  receive();
}

void Connection::on_sent(int32_t result) {
  sending_ = false;
  if (result < 0 && result != -EINTR && result != -EAGAIN) return close();
  if (result > 0) {
    sent_bytes_ += static_cast<size_t>(result);
    last_heard_ns_ = base::monotonic_ns();
  }
  send_output();
  serve();  // Requests may have waited for the client to take its answers.
  receive();
  end_if_answered();
}

void Connection::serve() {
  if (serving_ || phase_ != Phase::kServing) return;
  serving_ = true;
  serve_input();
  serving_ = false;
  send_output();
}

void Connection::serve_input() {
  while (!awaiting_reply_ && keep_alive_ && !input_.empty() && pending_.size() < kOutputLimit) {
    switch (parser_.advance(input_)) {
      case http::ParseState::kNeedMore:
        return;
      case http::ParseState::kNeedContinue:
        pending_ += http::format_response({.status = 100});
        return;
      case http::ParseState::kBad:
        keep_alive_ = false;
        response_body_ = http::ResponseBody::kSent;
        return refuse(parser_.error(), 400);
      case http::ParseState::kComplete:
        dispatch(parser_.take());
    }
  }
}

void Connection::dispatch(http::Request request) {
  keep_alive_ = request.keep_alive;
  // A client of HEAD waits for no body (RFC 9110 §9.3.2) and would take it for the next answer.
  response_body_ =
      request.method == "HEAD" ? http::ResponseBody::kOmitted : http::ResponseBody::kSent;
  auto routed = route_request(request.method, request.target, request.body);
  if (const auto* const refusal = std::get_if<RequestRefusal>(&routed)) {
    return refuse(refusal->message, refusal->status);
  }
  awaiting_reply_ = true;
  // The client may be gone before the answer comes.
  context_.sink.apply(std::move(std::get<monitor::Action>(routed)),
                      [weak = weak_from_this()](monitor::Reply reply) {
                        if (const auto self = weak.lock()) self->answer(std::move(reply));
                      });
}

void Connection::refuse(const std::string& message, unsigned status) {
  // Only what never became an Action: the monitor logs what it refuses itself.
  LOG_GUEST(context_.refusal_log, "API: {}: {}", status, printable(message));
  respond(status, encode_fault(message));
}

void Connection::answer(monitor::Reply reply) {
  awaiting_reply_ = false;
  if (closing()) return;
  if (!reply) {
    respond(400, encode_fault(reply.error().message()));
  } else {
    const std::string body = encode_reply(*reply);
    respond(body.empty() ? 204 : 200, body);
  }
  if (serving_) return;  // It came at once: serve_input() goes on.
  send_output();
  serve();
  receive();
}

void Connection::respond(unsigned status, std::string_view body) {
  pending_ += http::format_response(
      {.status = status,
       .body = body,
       .use = keep_alive_ ? http::ConnectionUse::kKeptAlive : http::ConnectionUse::kClosed,
       .body_use = response_body_});
}

void Connection::end_if_answered() {
  if (closing() || awaiting_reply_ || sending_) return;
  if (peer_finished_) return close();
  if (keep_alive_ || phase_ == Phase::kDraining) return;
  phase_ = Phase::kDraining;
  input_.clear();
  ::shutdown(fd_.get(), SHUT_WR);
  receive();
}

}  // namespace mote::api_server
