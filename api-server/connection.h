#pragma once
// One client of the API. At most one receive and one send are in flight; one request is under way
// at a time, and pipelined ones wait in the input, or in the socket while the client does not take
// its answers. Loop thread only.

#include <array>
#include <functional>
#include <memory>
#include <string>

#include "base/log.h"
#include "base/unique_fd.h"
#include "http/parser.h"
#include "http/response.h"
#include "io/event_loop.h"
#include "monitor/action.h"

namespace mote::api_server {

/// What all connections of a server share; outlives them.
struct ConnectionContext {
  io::EventLoop& loop;
  monitor::ActionSink& sink;
  size_t body_limit_bytes;
  base::log::RateLimitedLog refusal_log;
};

class Connection final : public io::CompletionHandler,
                         public std::enable_shared_from_this<Connection> {
 public:
  /// `on_finished` is called when finished() became true, perhaps more than once; it must not
  /// destroy the connection at once.
  Connection(ConnectionContext& context, base::UniqueFd fd,
             std::move_only_function<void()> on_finished);

  /// Begins to receive.
  void start() { receive(); }
  /// Ends the connection; finished() becomes true when the kernel is done with its buffers, and
  /// only then may the connection be destroyed.
  void close();
  [[nodiscard]] bool closing() const { return phase_ == Phase::kClosing; }
  [[nodiscard]] bool finished() const { return closing() && !receiving_ && !sending_; }
  /// The monitor works for this client: it should not be pushed out for another.
  [[nodiscard]] bool awaits_reply() const { return awaiting_reply_; }
  /// When the client last did something: sent bytes, or took some of an answer.
  [[nodiscard]] uint64_t last_heard_ns() const { return last_heard_ns_; }

  void on_completion(uint32_t tag, int32_t result, uint32_t flags) override;

 private:
  enum class Phase : uint8_t {
    kServing,
    kDraining,  ///< All is answered: what still comes is thrown away until the client closes. To
                ///< close with bytes unread would reset the client before it reads the answer.
    kClosing,
  };

  void receive();
  void send_output();
  void on_received(int32_t result);
  void on_sent(int32_t result);
  /// Serves what stands in the input, up to the first request whose reply is still to come.
  void serve();
  void serve_input();
  void dispatch(http::Request request);
  void refuse(const std::string& message, unsigned status);
  void respond(unsigned status, std::string_view body);
  void answer(monitor::Reply reply);
  /// Nothing more will be said: begins to drain, or closes when the client has closed already.
  void end_if_answered();

  ConnectionContext& context_;
  base::UniqueFd fd_;
  http::Parser parser_;
  std::move_only_function<void()> on_finished_;
  std::array<char, 4096> received_{};
  std::string input_;
  std::string output_;   ///< Being sent; untouched while sending_.
  std::string pending_;  ///< Goes out next.
  size_t sent_bytes_ = 0;
  size_t drained_bytes_ = 0;
  Phase phase_ = Phase::kServing;
  http::ResponseBody response_body_ = http::ResponseBody::kSent;  ///< For the request under way.
  bool receiving_ = false;
  bool sending_ = false;
  bool awaiting_reply_ = false;
  bool serving_ = false;  ///< Within serve(): an answer that comes at once must not serve again.
  bool keep_alive_ = true;
  bool peer_finished_ = false;  ///< The client has shut its sending side.
  uint64_t last_heard_ns_;
  io::Registration registration_;
};

}  // namespace mote::api_server
