// The API socket with real clients, against a monitor of the test's own.

#include "api-server/server.h"

#include <gtest/gtest.h>

#include <random>

#include "api-server/testing/server_fixture.h"

namespace mote::api_server {
namespace {

using testing::ServerTest;
using namespace monitor;

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
  EXPECT_EQ(monitor_.applied, kRequests);
}

TEST_F(ServerTest, AnAnswerMayComeLateAndFindItsClientGone) {
  monitor_.hold_pauses = true;
  const auto patient = connect();
  send_all(patient, kPause);
  {
    const auto hasty = connect();
    send_all(hasty, kPause);
    spin();
  }
  spin();
  ASSERT_EQ(monitor_.held.size(), 2U);
  for (auto& reply : monitor_.held) reply(NoContent{});
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

TEST_F(ServerTest, ClientsThatWaitForTheMonitorAreNotPushedOut) {
  monitor_.hold_pauses = true;
  std::vector<base::UniqueFd> busy;
  for (size_t i = 0; i < Server::kMaxConnections; ++i) {
    busy.push_back(connect());
    send_all(busy.back(), kPause);
  }
  spin();
  ASSERT_EQ(monitor_.held.size(), Server::kMaxConnections);
  // One more is accepted and asked nothing of; the next ones wait in the backlog.
  std::vector<base::UniqueFd> late;
  for (int i = 0; i < 3; ++i) {
    late.push_back(connect());
    send_all(late.back(), kPause);
  }
  spin();
  for (const auto& client : busy) EXPECT_TRUE(is_quiet(client));
  for (const auto& client : late) EXPECT_TRUE(is_quiet(client));
  EXPECT_LE(monitor_.held.size(), Server::kMaxConnections + 1);
  monitor_.hold_pauses = false;
  for (auto& reply : std::exchange(monitor_.held, {})) reply(NoContent{});
  for (const auto& client : busy) {
    EXPECT_NE(receive(client, "\r\n\r\n").find("204"), std::string::npos);
  }
  for (const auto& client : late) {
    EXPECT_NE(receive(client, "\r\n\r\n").find("204"), std::string::npos);
  }
}

TEST_F(ServerTest, MayEndWhateverItsClientsAreDoing) {
  monitor_.hold_pauses = true;
  const auto idle = connect();
  const auto waiting = connect();
  send_all(waiting, kPause);
  const auto stalled = connect();
  send_all(stalled, "PUT /vm HTTP/1.1\r\nContent-Length: 40000\r\n\r\n{");
  const auto draining = connect();
  send_all(draining, "GET /version HTTP/1.1\r\nConnection: close\r\n\r\n");
  const auto deaf = connect();
  for (int i = 0; i < 20000; ++i) {
    if (::send(deaf.get(), kGetVersion.data(), kGetVersion.size(), MSG_NOSIGNAL) < 0) break;
  }
  spin();
  const auto unheard = connect();  // Still in the backlog.
  server_.reset();
  ASSERT_EQ(monitor_.held.size(), 1U);
  monitor_.held.front()(NoContent{});
  for (const auto* client : {&idle, &waiting, &stalled}) {
    char byte = 0;
    EXPECT_LE(::recv(client->get(), &byte, 1, 0), 0) << "still open";
  }
}

TEST_F(ServerTest, SendsWhatWasAnsweredBeforeItEnds) {
  monitor_.hold_pauses = true;
  const auto client = connect();
  send_all(client, kPause);
  spin();
  ASSERT_EQ(monitor_.held.size(), 1U);
  monitor_.held.front()(NoContent{});
  server_.reset();
  EXPECT_NE(receive(client, "\r\n\r\n").find("204"), std::string::npos);
}

TEST_F(ServerTest, LeavesASocketFileThatIsNotItsOwn) {
  std::filesystem::remove(path_);
  io::EventLoop& loop = *loop_;
  auto other = Server::create(loop, path_, monitor_, {});
  ASSERT_TRUE(other) << other.error().message();
  server_.reset();
  EXPECT_TRUE(std::filesystem::exists(path_));
  other->reset();
  EXPECT_FALSE(std::filesystem::exists(path_));
}

TEST_F(ServerTest, RefusesAPathThatIsTakenTooLongOrMissing) {
  const auto taken = Server::create(*loop_, path_, monitor_, {});
  ASSERT_FALSE(taken);
  EXPECT_NE(taken.error().message().find("--api-sock: " + path_ + " exists already"),
            std::string::npos);
  EXPECT_FALSE(Server::create(*loop_, std::string(200, 'x'), monitor_, {}));
  EXPECT_FALSE(Server::create(*loop_, "", monitor_, {}));
  EXPECT_FALSE(Server::create(*loop_, "/nonexistent/dir/sock", monitor_, {}));
  server_.reset();
  EXPECT_FALSE(std::filesystem::exists(path_)) << "the socket file goes with the server";
}

}  // namespace
}  // namespace mote::api_server
