// The API socket with real clients, against an ActionSink of the test's own.

#include "api-server/server.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <random>

#include "base/clock.h"

namespace mote::api_server {
namespace {

using namespace monitor;

struct FakeSink final : ActionSink {
  std::vector<ReplyCallback> held;
  bool hold_pauses = false;
  int applied = 0;
  void apply(Action action, ReplyCallback reply) override {
    ++applied;
    if (hold_pauses && std::holds_alternative<PauseVm>(action))
      return held.push_back(std::move(reply));
    if (std::holds_alternative<GetVersion>(action)) return reply(VersionInfo{"1.14.2", "0"});
    if (std::holds_alternative<PutMetrics>(action)) {
      return reply(base::fail(base::ErrorCode::kIo, "metrics_path: told to fail"));
    }
    reply(NoContent{});
  }
};

class ServerTest : public testing::Test {
 protected:
  void SetUp() override {
    path_ = testing::TempDir() + "mote_api_" + std::to_string(::getpid());
    std::filesystem::remove(path_);
    loop_ = io::EventLoop::create(64).value();
    server_ = Server::create(*loop_, path_, sink_, {}).value();
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
  /// What comes until `want` bytes are there, the peer closes, or nothing moves for long.
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

  static constexpr std::string_view kGetVersion = "GET /version HTTP/1.1\r\n\r\n";
  std::string path_;
  FakeSink sink_;
  std::unique_ptr<io::EventLoop> loop_;
  std::unique_ptr<Server> server_;
};

TEST_F(ServerTest, AnswersReadsChangesAndFaults) {
  const auto client = connect();
  send_all(client, kGetVersion);
  EXPECT_NE(receive(client, "}").find("\"firecracker_version\":\"1.14.2\""), std::string::npos);
  send_all(client, put("/vm", "nonsense"));
  EXPECT_TRUE(receive(client, "\r\n\r\n").starts_with("HTTP/1.1 40"));
  send_all(client, put("/actions", R"({"action_type":"InstanceStart"})"));
  EXPECT_TRUE(receive(client, "\r\n\r\n").find("204 No Content") != std::string::npos);
  send_all(client, put("/metrics", R"({"metrics_path":"/x"})"));
  const std::string fault = receive(client, "}");
  EXPECT_NE(fault.find("400"), std::string::npos);
  EXPECT_NE(fault.find(R"({"fault_message":"metrics_path: told to fail"})"), std::string::npos);
}

TEST_F(ServerTest, PipelinedRequestsAreAnsweredInOrderHoweverMany) {
  const auto client = connect();
  std::string text;
  constexpr int kRequests = 5000;
  for (int i = 0; i < kRequests; ++i) text += "GET / HTTP/1.1\r\n\r\n";
  // The client reads as it writes, else its own answers would fill the socket.
  size_t answers = 0;
  std::string got;
  while (!text.empty() || answers < kRequests) {
    const ssize_t sent =
        text.empty() ? 0 : ::send(client.get(), text.data(), text.size(), MSG_NOSIGNAL);
    if (sent > 0) text.erase(0, static_cast<size_t>(sent));
    spin(1);
    char buffer[65536];
    const ssize_t size = ::recv(client.get(), buffer, sizeof(buffer), 0);
    ASSERT_NE(size, 0) << "closed after " << answers;
    if (size > 0) got.append(buffer, static_cast<size_t>(size));
    for (size_t at = got.find("HTTP/1.1 204"); at != std::string::npos;
         at = got.find("HTTP/1.1 204")) {
      ++answers;
      got.erase(0, at + 12);
    }
  }
  EXPECT_EQ(sink_.applied, kRequests);
}

TEST_F(ServerTest, AnAnswerMayComeLateAndFindItsClientGone) {
  sink_.hold_pauses = true;
  const std::string pause =
      "PATCH /vm HTTP/1.1\r\nContent-Length: 18\r\n\r\n{\"state\":\"Paused\"}";
  const auto patient = connect();
  send_all(patient, pause);
  {
    const auto hasty = connect();
    send_all(hasty, pause);
    spin();
  }
  spin();
  ASSERT_EQ(sink_.held.size(), 2U);
  for (auto& reply : sink_.held) reply(NoContent{});
  EXPECT_NE(receive(patient, "\r\n\r\n").find("204"), std::string::npos);
  const auto other = connect();
  send_all(other, kGetVersion);
  EXPECT_NE(receive(other, "}").find("200"), std::string::npos);
}

TEST_F(ServerTest, StalledAndGarbageClientsDisturbNobody) {
  const auto stalled = connect();
  send_all(stalled, "PUT /vm HTTP/1.1\r\nContent-Length: 40000\r\n\r\n{");
  const auto good = connect();
  std::mt19937 random(1);
  int answered = 0;
  for (int i = 0; i < 10000; ++i) {
    const auto bad = connect();
    std::string text = i % 3 == 0 ? put("/machine-config", "{\"vcpu_count\":")
                                  : std::string(1 + random() % 200, '\0');
    if (i % 3 == 1) std::ranges::generate(text, [&] { return static_cast<char>(random()); });
    if (i % 3 == 2) text = "GET /" + text + " HTTP/1.1\r\nContent-Length: x\r\n\r\n";
    ::send(bad.get(), text.data(), text.size(), MSG_NOSIGNAL);
    spin(2);
    if (i % 100 == 0) {
      send_all(good, kGetVersion);
      answered += receive(good, "}").find("200") != std::string::npos ? 1 : 0;
    }
  }
  EXPECT_EQ(answered, 100);
}

TEST_F(ServerTest, ClosedConnectionsGiveTheirDescriptorsBack) {
  spin();
  const size_t before = open_descriptors();
  for (int i = 0; i < 300; ++i) {
    const auto client = connect();
    send_all(client, i % 2 == 0 ? std::string(kGetVersion) : std::string("half a requ"));
    spin(3);
  }
  spin(50);
  EXPECT_LE(open_descriptors(), before + 1);
}

TEST_F(ServerTest, TheLongestSilentClientMakesRoom) {
  std::vector<base::UniqueFd> clients;
  for (size_t i = 0; i < Server::kMaxConnections; ++i) {
    clients.push_back(connect());
    spin(2);
  }
  const auto late = connect();
  send_all(late, kGetVersion);
  EXPECT_NE(receive(late, "}").find("200"), std::string::npos);
  char byte = 0;
  spin();
  EXPECT_EQ(::recv(clients.front().get(), &byte, 1, 0), 0) << "the first one was closed";
}

TEST_F(ServerTest, AClientThatNeverReadsIsDropped) {
  const auto client = connect();
  const std::string request = std::string(kGetVersion);
  bool closed = false;
  for (int i = 0; i < 200000 && !closed; ++i) {
    const ssize_t sent = ::send(client.get(), request.data(), request.size(), MSG_NOSIGNAL);
    closed = sent < 0 && errno != EAGAIN;
    spin(1);
    if (sent < 0 && errno == EAGAIN)
      break;  // Back-pressure: the server stopped reading, which is as good.
  }
  const auto other = connect();
  send_all(other, kGetVersion);
  EXPECT_NE(receive(other, "}").find("200"), std::string::npos);
}

TEST_F(ServerTest, RefusesAPathThatIsTakenTooLongOrMissing) {
  const auto taken = Server::create(*loop_, path_, sink_, {});
  ASSERT_FALSE(taken);
  EXPECT_NE(taken.error().message().find("--api-sock: " + path_ + " exists already"),
            std::string::npos);
  EXPECT_FALSE(Server::create(*loop_, std::string(200, 'x'), sink_, {}));
  EXPECT_FALSE(Server::create(*loop_, "", sink_, {}));
  EXPECT_FALSE(Server::create(*loop_, "/nonexistent/dir/sock", sink_, {}));
  server_.reset();
  EXPECT_FALSE(std::filesystem::exists(path_)) << "the socket file goes with the server";
}

}  // namespace
}  // namespace mote::api_server
