#pragma once
// The API socket: accepts connections, turns their bytes into Actions and replies into bytes. Loop
// thread only. A client that stalls, leaves in mid-request or sends garbage costs its own
// connection and nothing else.

#include <cstdint>
#include <memory>
#include <optional>
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
  /// More clients than this push out the one that has been silent longest, but none that waits for
  /// the monitor's answer: while all do, newcomers wait in the socket's backlog.
  static constexpr size_t kMaxConnections = 64;

  /// Binds and listens. Errors name --api-sock: the path is too long, exists already, or cannot be
  /// made.
  static base::Result<std::unique_ptr<Server>> create(io::EventLoop& loop, const std::string& path,
                                                      monitor::ActionSink& sink,
                                                      const ServerOptions& options);
  /// Sends what was answered, ends every connection, and removes the socket file. Runs the loop
  /// until the kernel is done with the connections' buffers: not to be called by a handler of the
  /// loop.
  ~Server() override;

  void on_completion(uint32_t tag, int32_t result, uint32_t flags) override;
  void on_turn_end() override;

 private:
  Server(io::EventLoop& loop, std::string path, base::UniqueFd listener, monitor::ActionSink& sink,
         const ServerOptions& options);
  /// Which file a path names.
  struct FileIdentity {
    uint64_t device = 0;
    uint64_t inode = 0;
    bool operator==(const FileIdentity&) const = default;
  };
  static std::optional<FileIdentity> identify(const std::string& path);

  void accept_next();
  void add_connection(base::UniqueFd fd);
  /// Closes the client that has been silent longest when there are too many.
  void push_out_one_too_many();
  [[nodiscard]] size_t open_connections() const;
  void remove_socket_file() const;

  io::EventLoop& loop_;
  const std::string path_;
  base::UniqueFd listener_;
  std::optional<FileIdentity> socket_file_;
  ConnectionContext context_;
  std::vector<std::shared_ptr<Connection>> connections_;
  bool turn_end_asked_ = false;
  bool ending_ = false;
  io::Registration registration_;
  io::Timer retry_;  ///< Accepting was not possible: try again a little later.
};

}  // namespace mote::api_server
