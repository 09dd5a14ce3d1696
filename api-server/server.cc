#include "api-server/server.h"

#include <sys/socket.h>
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
      sink_(sink),
      options_(options),
      registration_(loop, *this),
      retry_(loop, [this] { arm_accept(); }) {
  arm_accept();
}

Server::~Server() {
  loop_.forget(*this);
  ::unlink(path_.c_str());
}

void Server::arm_accept() {
  io_uring_prep_accept(loop_.prepare(registration_.source(), 0), listener_.get(), nullptr, nullptr,
                       SOCK_CLOEXEC);
}

void Server::on_completion(uint32_t, int32_t result, uint32_t) {
  if (result >= 0) {
    add_connection(base::UniqueFd(result));
    return arm_accept();
  }
  if (result == -ECANCELED) return;
  LOG_WARNING("API: accepting a client failed: {}", std::strerror(-result));
  retry_.arm(kRetryNs);
}

void Server::add_connection(base::UniqueFd fd) {
  if (connections_.size() >= kMaxConnections) {
    const auto oldest = std::ranges::min_element(connections_, {}, [](const auto& connection) {
      return connection->idle() ? connection->last_heard_ns() : UINT64_MAX;
    });
    (*oldest)->close();
  }
  auto on_finished = [this] {
    if (!std::exchange(turn_end_asked_, true)) loop_.defer(*this);
  };
  connections_.push_back(std::make_shared<Connection>(
      loop_, std::move(fd), sink_, options_.body_limit_bytes, std::move(on_finished)));
  connections_.back()->start();
}

void Server::on_turn_end() {
  turn_end_asked_ = false;
  std::erase_if(connections_, [](const auto& connection) { return connection->finished(); });
}

}  // namespace mote::api_server
