#pragma once
// A Server on a socket of its own, clients for it, and a monitor that answers as a test wants.

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "api-server/server.h"
#include "base/clock.h"

namespace mote::api_server::testing {

/// Answers at once, but pauses wait in `held` while `hold_pauses` is set.
struct FakeMonitor final : monitor::ActionSink {
  std::vector<monitor::ReplyCallback> held;
  bool hold_pauses = false;
  int applied = 0;
  void apply(monitor::Action action, monitor::ReplyCallback reply) override {
    ++applied;
    if (hold_pauses && std::holds_alternative<monitor::PauseVm>(action))
      return held.push_back(std::move(reply));
    if (std::holds_alternative<monitor::GetVersion>(action))
      return reply(monitor::VersionInfo{"1.14.2", "0"});
    if (std::holds_alternative<monitor::PutMetrics>(action)) {
      return reply(base::fail(base::ErrorCode::kIo, "metrics_path: told to fail"));
    }
    reply(monitor::NoContent{});
  }
};

class ServerTest : public ::testing::Test {
 protected:
  void SetUp() override { start({}); }
  void start(const ServerOptions& options) {
    server_.reset();
    path_ = ::testing::TempDir() + "mote_api_" + std::to_string(::getpid());
    std::filesystem::remove(path_);
    if (!loop_) loop_ = io::EventLoop::create(64).value();
    server_ = Server::create(*loop_, path_, monitor_, options).value();
  }
  base::UniqueFd connect() {
    base::UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path_.data(), path_.size());
    EXPECT_EQ(::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0)
        << std::strerror(errno);
    return fd;
  }
  void spin(int turns = 20) {
    for (int i = 0; i < turns; ++i) ASSERT_TRUE(loop_->run_once(false));
  }
  /// Sends all of `text`, running the loop while the socket is full.
  void send_all(const base::UniqueFd& fd, std::string_view text) {
    while (!text.empty()) {
      const ssize_t sent = ::send(fd.get(), text.data(), text.size(), MSG_NOSIGNAL);
      if (sent > 0) text.remove_prefix(static_cast<size_t>(sent));
      if (sent < 0 && errno != EAGAIN) return;
      spin(2);
    }
  }
  /// What comes until `until` is in it, the server closes, or the time is over.
  std::string receive(const base::UniqueFd& fd, std::string_view until, uint64_t limit_ms = 2000) {
    std::string text;
    const uint64_t end = base::monotonic_ns() + limit_ms * 1'000'000;
    while (text.find(until) == std::string::npos && base::monotonic_ns() < end) {
      spin(1);
      char buffer[4096];
      const ssize_t got = ::recv(fd.get(), buffer, sizeof(buffer), 0);
      if (got > 0) text.append(buffer, static_cast<size_t>(got));
      if (got == 0 || (got < 0 && errno != EAGAIN)) break;
    }
    return text;
  }
  /// Everything until the server ends the connection; nothing when it does not in time.
  std::optional<std::string> receive_all(const base::UniqueFd& fd, uint64_t limit_ms = 2000) {
    std::string text;
    const uint64_t end = base::monotonic_ns() + limit_ms * 1'000'000;
    while (base::monotonic_ns() < end) {
      spin(1);
      char buffer[4096];
      const ssize_t got = ::recv(fd.get(), buffer, sizeof(buffer), 0);
      if (got > 0) text.append(buffer, static_cast<size_t>(got));
      if (got == 0) return text;
    }
    return std::nullopt;
  }
  /// True while the server has neither closed the connection nor answered on it.
  static bool is_quiet(const base::UniqueFd& fd) {
    char byte = 0;
    return ::recv(fd.get(), &byte, 1, MSG_PEEK) < 0 && errno == EAGAIN;
  }
  static std::string put(std::string_view path, std::string_view body) {
    return "PUT " + std::string(path) +
           " HTTP/1.1\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" +
           std::string(body);
  }
  static size_t open_descriptors() {
    size_t count = 0;
    for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/fd"))
      ++count;
    return count;
  }

  static constexpr std::string_view kPause =
      "PATCH /vm HTTP/1.1\r\nContent-Length: 18\r\n\r\n{\"state\":\"Paused\"}";
  static constexpr std::string_view kGetVersion = "GET /version HTTP/1.1\r\n\r\n";
  std::string path_;
  FakeMonitor monitor_;
  std::unique_ptr<io::EventLoop> loop_;
  std::unique_ptr<Server> server_;
};

}  // namespace mote::api_server::testing
