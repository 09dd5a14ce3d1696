#include "api-server/server.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/log.h"

namespace mote::api_server {
namespace {

constexpr int kBacklog = 128;
constexpr uint64_t kRetryNs = 100'000'000;
constexpr uint32_t kAcceptTag = 0;

base::Result<base::UniqueFd> listen_on(const std::string& path) {
  const std::string what = "--api-sock: " + path;
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof(address.sun_path)) {
    return base::fail(
        base::ErrorCode::kInvalidArgument,
        what + " must have 1 to " + std::to_string(sizeof(address.sun_path) - 1) + " bytes");
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  base::UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return base::fail_errno(errno, what);
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    // A file that is there may be another monitor's live socket: it is not ours to remove.
    return base::fail_errno(errno, errno == EADDRINUSE ? what + " exists already" : what);
  }
  if (::listen(fd.get(), kBacklog) != 0) return base::fail_errno(errno, what);
  return fd;
}

}  // namespace

base::Result<std::unique_ptr<Server>> Server::create(io::EventLoop& loop, const std::string& path,
                                                     monitor::ActionSink& sink,
                                                     const ServerOptions& options) {
  MOTE_TRY(auto listener, listen_on(path));
  return std::unique_ptr<Server>(new Server(loop, path, std::move(listener), sink, options));
}

Server::Server(io::EventLoop& loop, std::string path, base::UniqueFd listener,
               monitor::ActionSink& sink, const ServerOptions& options)
    : loop_(loop),
      path_(std::move(path)),
      listener_(std::move(listener)),
      socket_file_(identify(path_)),
      context_{loop, sink, options.body_limit_bytes, {}},
      registration_(loop, *this),
      retry_(loop, [this] { accept_next(); }) {
  accept_next();
}

std::optional<Server::FileIdentity> Server::identify(const std::string& path) {
  struct stat status {};
  if (::lstat(path.c_str(), &status) != 0) return std::nullopt;
  return FileIdentity{status.st_dev, status.st_ino};
}

Server::~Server() {
  ending_ = true;
  loop_.cancel(registration_.source(), kAcceptTag);
  loop_.submit();  // The last answers may not be on their way yet.
  for (const auto& connection : connections_) connection->close();
  const auto in_flight = [](const auto& connection) { return !connection->finished(); };
  while (std::ranges::any_of(connections_, in_flight)) {
    if (!loop_.run_once(true)) break;
  }
  loop_.forget(*this);
  remove_socket_file();
}

void Server::remove_socket_file() const {
  // Somebody may have put another file there since.
  if (socket_file_ && identify(path_) == socket_file_) ::unlinkat(AT_FDCWD, path_.c_str(), 0);
}

void Server::accept_next() {
  if (ending_) return;
  push_out_one_too_many();
  if (open_connections() > kMaxConnections) return retry_.arm(kRetryNs);
  io_uring_prep_accept(loop_.prepare(registration_.source(), kAcceptTag), listener_.get(), nullptr,
                       nullptr, SOCK_CLOEXEC);
}

void Server::on_completion(uint32_t, int32_t result, uint32_t) {
  if (result >= 0) {
    base::UniqueFd fd(result);
    if (ending_) return;
    add_connection(std::move(fd));
    return accept_next();
  }
  if (ending_) return;
  if (result == -EINTR || result == -ECONNABORTED) return accept_next();
  LOG_WARNING("API: accepting a client failed: {}", std::strerror(-result));
  retry_.arm(kRetryNs);
}

void Server::add_connection(base::UniqueFd fd) {
  auto on_finished = [this] {
    if (!std::exchange(turn_end_asked_, true)) loop_.defer(*this);
  };
  connections_.push_back(
      std::make_shared<Connection>(context_, std::move(fd), std::move(on_finished)));
  connections_.back()->start();
}

size_t Server::open_connections() const {
  return static_cast<size_t>(std::ranges::count_if(
      connections_, [](const auto& connection) { return !connection->closing(); }));
}

void Server::push_out_one_too_many() {
  if (open_connections() <= kMaxConnections) return;
  Connection* silent = nullptr;
  // The last one has only just come.
  for (size_t i = 0; i + 1 < connections_.size(); ++i) {
    Connection& connection = *connections_[i];
    if (connection.closing() || connection.awaits_reply()) continue;
    if (silent == nullptr || connection.last_heard_ns() < silent->last_heard_ns()) {
      silent = &connection;
    }
  }
  if (silent != nullptr) silent->close();
}

void Server::on_turn_end() {
  turn_end_asked_ = false;
  std::erase_if(connections_, [](const auto& connection) { return connection->finished(); });
}

}  // namespace mote::api_server
