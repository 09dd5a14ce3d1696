#include "api-server/connection.h"

#include <sys/socket.h>

#include "api-server/json_codec.h"
#include "api-server/routes.h"
#include "base/clock.h"

namespace mote::api_server {
namespace {

constexpr uint32_t kReceiveTag = 0;
constexpr uint32_t kSendTag = 1;
/// Pipelined input beyond this waits in the socket.
constexpr size_t kInputLimit = 128 * 1024;
/// A client that sends requests and never reads their answers is dropped here.
constexpr size_t kOutputLimit = 1024 * 1024;

}  // namespace

Connection::Connection(io::EventLoop& loop, base::UniqueFd fd, monitor::ActionSink& sink,
                       size_t body_limit_bytes, std::move_only_function<void()> on_finished)
    : loop_(loop),
      fd_(std::move(fd)),
      sink_(sink),
      parser_(body_limit_bytes),
      on_finished_(std::move(on_finished)),
      last_heard_ns_(base::monotonic_ns()),
      registration_(loop, *this) {}

void Connection::close() {
  if (closing_) return;
  closing_ = true;
  ::shutdown(fd_.get(), SHUT_RDWR);  // Wakes what is in flight.
}

void Connection::receive() {
  if (receiving_ || closing_ || peer_finished_ || input_.size() >= kInputLimit) return;
  io_uring_prep_recv(loop_.prepare(registration_.source(), kReceiveTag), fd_.get(),
                     received_.data(), received_.size(), 0);
  receiving_ = true;
}

void Connection::send_pending() {
  if (sending_ || closing_ || pending_.empty()) return;
  output_.swap(pending_);
  pending_.clear();
  sent_bytes_ = 0;
  io_uring_prep_send(loop_.prepare(registration_.source(), kSendTag), fd_.get(), output_.data(),
                     output_.size(), MSG_NOSIGNAL);
  sending_ = true;
}

void Connection::on_completion(uint32_t tag, int32_t result, uint32_t) {
  tag == kReceiveTag ? on_received(result) : on_sent(result);
  if (finished()) on_finished_();
}

void Connection::on_received(int32_t result) {
  receiving_ = false;
  if (result == -EINTR || result == -EAGAIN) return receive();
  if (result == 0) {
    peer_finished_ = true;  // It may still wait for its answer.
    if (!awaiting_reply_ && !sending_) close();
    return;
  }
  if (result < 0) return close();
  last_heard_ns_ = base::monotonic_ns();
  input_.append(received_.data(), static_cast<size_t>(result));
  serve();
  receive();
}

void Connection::on_sent(int32_t result) {
  sending_ = false;
  if (result < 0 && result != -EINTR && result != -EAGAIN) return close();
  if (result > 0) sent_bytes_ += static_cast<size_t>(result);
  if (closing_) return;
  if (sent_bytes_ < output_.size()) {
    io_uring_prep_send(loop_.prepare(registration_.source(), kSendTag), fd_.get(),
                       output_.data() + sent_bytes_, output_.size() - sent_bytes_, MSG_NOSIGNAL);
    sending_ = true;
    return;
  }
  output_.clear();
  if (!pending_.empty()) return send_pending();
  if ((!keep_alive_ || peer_finished_) && !awaiting_reply_) close();
}

void Connection::serve() {
  if (serving_) return;
  serving_ = true;
  serve_input();
  serving_ = false;
}

void Connection::serve_input() {
  while (!awaiting_reply_ && keep_alive_ && !closing_ && !input_.empty()) {
    switch (parser_.advance(input_)) {
      case ParseState::kNeedMore:
        return;
      case ParseState::kNeedContinue:
        pending_ += format_response(100, {}, true);
        return send_pending();
      case ParseState::kBad:
        keep_alive_ = false;
        return respond(400, encode_fault(parser_.error()));
      case ParseState::kComplete:
        dispatch(parser_.take());
    }
  }
}

void Connection::dispatch(HttpRequest request) {
  keep_alive_ = request.keep_alive;
  auto routed = route_request(request.method, request.target, request.body);
  if (const auto* const refusal = std::get_if<RequestRefusal>(&routed)) {
    return respond(refusal->status, encode_fault(refusal->message));
  }
  awaiting_reply_ = true;
  // The client may be gone before the answer comes.
  sink_.apply(std::move(std::get<monitor::Action>(routed)),
              [weak = weak_from_this()](monitor::Reply reply) {
                if (const auto self = weak.lock()) self->answer(std::move(reply));
              });
}

void Connection::answer(monitor::Reply reply) {
  awaiting_reply_ = false;
  if (closing_) {
    if (finished()) on_finished_();  // Closed while only the answer was outstanding.
    return;
  }
  if (!reply) {
    respond(400, encode_fault(reply.error().message()));
  } else {
    const std::string body = encode_reply(*reply);
    respond(body.empty() ? 204 : 200, body);
  }
  serve();
  receive();
}

void Connection::respond(unsigned status, std::string_view body) {
  pending_ += format_response(status, body, keep_alive_);
  if (pending_.size() > kOutputLimit) return close();
  send_pending();
}

}  // namespace mote::api_server
