#pragma once
// One client of the API. At most one receive and one send are in flight; one request is under way
// at a time, and pipelined ones wait in the input. Loop thread only.

#include <array>
#include <functional>
#include <memory>
#include <string>

#include "api-server/http.h"
#include "base/unique_fd.h"
#include "io/event_loop.h"
#include "monitor/action.h"

namespace mote::api_server {

class Connection final : public io::CompletionHandler,
                         public std::enable_shared_from_this<Connection> {
 public:
  /// `on_finished` is called when finished() became true; it must not destroy the connection at
  /// once.
  Connection(io::EventLoop& loop, base::UniqueFd fd, monitor::ActionSink& sink,
             size_t body_limit_bytes, std::move_only_function<void()> on_finished);

  /// Begins to receive.
  void start() { receive(); }
  /// Ends the connection; finished() becomes true when the kernel is done with its buffers.
  void close();
  [[nodiscard]] bool finished() const { return closing_ && !receiving_ && !sending_; }
  /// Nothing of this client is under way: it may be pushed out for another.
  [[nodiscard]] bool idle() const { return !awaiting_reply_ && !sending_; }
  [[nodiscard]] uint64_t last_heard_ns() const { return last_heard_ns_; }

  void on_completion(uint32_t tag, int32_t result, uint32_t flags) override;

 private:
  void receive();
  void send_pending();
  void on_received(int32_t result);
  void on_sent(int32_t result);
  /// Serves what stands in the input, up to the first request whose reply is still to come.
  void serve();
  void serve_input();
  void dispatch(HttpRequest request);
  void respond(unsigned status, std::string_view body);
  void answer(monitor::Reply reply);

  io::EventLoop& loop_;
  base::UniqueFd fd_;
  monitor::ActionSink& sink_;
  HttpParser parser_;
  std::move_only_function<void()> on_finished_;
  std::array<char, 4096> received_{};
  std::string input_;
  std::string output_;   ///< Being sent; untouched while sending_.
  std::string pending_;  ///< Goes out next.
  size_t sent_bytes_ = 0;
  bool receiving_ = false;
  bool sending_ = false;
  bool awaiting_reply_ = false;
  bool serving_ = false;  ///< Within serve(): an answer that comes at once must not serve again.
  bool keep_alive_ = true;
  bool peer_finished_ = false;  ///< The client has shut its sending side.
  bool closing_ = false;
  uint64_t last_heard_ns_;
  io::Registration registration_;
};

}  // namespace mote::api_server
