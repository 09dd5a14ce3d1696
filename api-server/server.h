#pragma once
// The API socket: accepts connections, turns their bytes into Actions and replies into bytes. Loop
// thread only. A client that stalls, leaves in mid-request or sends garbage costs its own
// connection and nothing else.

#include <memory>
#include <string>
#include <vector>

#include "api-server/connection.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "io/event_loop.h"
#include "io/timer.h"
#include "monitor/action.h"

namespace mote::api_server {

struct ServerOptions {
  size_t body_limit_bytes = 51200;
};

class Server final : public io::CompletionHandler, public io::TurnEndHandler {
 public:
  /// More clients than this push out the one that has been silent longest.
  static constexpr size_t kMaxConnections = 64;

  /// Binds and listens. Errors name --api-sock: the path is too long, exists already, or cannot be
  /// made.
  static base::Result<std::unique_ptr<Server>> create(io::EventLoop& loop, const std::string& path,
                                                      monitor::ActionSink& sink,
                                                      const ServerOptions& options);
  /// Removes the socket file.
  ~Server() override;

  void on_completion(uint32_t tag, int32_t result, uint32_t flags) override;
  void on_turn_end() override;

 private:
  Server(io::EventLoop& loop, std::string path, base::UniqueFd listener, monitor::ActionSink& sink,
         const ServerOptions& options);
  void arm_accept();
  void add_connection(base::UniqueFd fd);

  io::EventLoop& loop_;
  const std::string path_;
  base::UniqueFd listener_;
  monitor::ActionSink& sink_;
  const ServerOptions options_;
  std::vector<std::shared_ptr<Connection>> connections_;
  bool turn_end_asked_ = false;
  io::Registration registration_;
  io::Timer
      retry_;  // Accepting failed for want of descriptors or memory: try again a little later.
};

}  // namespace mote::api_server
