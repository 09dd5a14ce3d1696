// One client's conversation with the API, over a real socket.

#include "api-server/connection.h"

#include <gtest/gtest.h>

#include "api-server/testing/server_fixture.h"

namespace mote::api_server {
namespace {

using ConnectionTest = testing::ServerTest;
using namespace monitor;

size_t count(std::string_view text, std::string_view word) {
  size_t found = 0;
  for (size_t at = text.find(word); at != std::string_view::npos; at = text.find(word, at + 1)) {
    ++found;
  }
  return found;
}

TEST_F(ConnectionTest, ReadsTheBodyAfterItTellsTheClientToContinue) {
  const auto client = connect();
  send_all(client, "PATCH /vm HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 18\r\n\r\n");
  EXPECT_EQ(receive(client, "\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
  EXPECT_EQ(monitor_.applied, 0);
  send_all(client, R"({"state":"Paused"})");
  EXPECT_TRUE(receive(client, "\r\n\r\n").starts_with("HTTP/1.1 204"));
}

TEST_F(ConnectionTest, EndsAfterTheAnswerWhenTheClientSaysSo) {
  for (const std::string_view request :
       {"GET /version HTTP/1.1\r\nConnection: close\r\n\r\n", "GET /version HTTP/1.0\r\n\r\n"}) {
    const auto client = connect();
    // What comes behind it is nobody's.
    send_all(client, std::string(request) + std::string(kGetVersion));
    const auto text = receive_all(client);
    ASSERT_TRUE(text) << "the connection stays open";
    EXPECT_EQ(count(*text, "HTTP/1.1 200"), 1U);
    EXPECT_NE(text->find("Connection: close"), std::string::npos);
  }
}

TEST_F(ConnectionTest, StaysForTheNextRequestAfterARefusal) {
  const auto client = connect();
  send_all(client, put("/nothing", "{}"));
  const std::string refused = receive(client, "}");
  EXPECT_TRUE(refused.starts_with("HTTP/1.1 404")) << refused;
  EXPECT_NE(refused.find("Connection: keep-alive"), std::string::npos);
  send_all(client, kGetVersion);
  EXPECT_TRUE(receive(client, "}").starts_with("HTTP/1.1 200"));
}

TEST_F(ConnectionTest, AnswersHeadWithoutABody) {
  const auto client = connect();
  send_all(client, "HEAD /version HTTP/1.1\r\n\r\n" + std::string(kGetVersion));
  const std::string text = receive(client, "}");
  ASSERT_TRUE(text.starts_with("HTTP/1.1 400")) << text;
  const size_t head_end = text.find("\r\n\r\n");
  EXPECT_TRUE(text.substr(head_end + 4).starts_with("HTTP/1.1 200")) << text;
}

TEST_F(ConnectionTest, TellsAClientThatIsStillSendingWhyItIsRefused) {
  start({.body_limit_bytes = 100});
  const auto client = connect();
  // Far more than a socket holds: if the server closed at once, the client would be reset.
  send_all(client, put("/vm", std::string(4 << 20, ' ')));
  ::shutdown(client.get(), SHUT_WR);
  const auto text = receive_all(client);
  ASSERT_TRUE(text);
  EXPECT_TRUE(text->starts_with("HTTP/1.1 400")) << *text;
  EXPECT_NE(text->find("larger than 100 bytes"), std::string::npos) << *text;
}

TEST_F(ConnectionTest, DoesNotListenForEverToARefusedClient) {
  start({.body_limit_bytes = 100});
  const auto client = connect();
  send_all(client, "PUT /vm HTTP/1.1\r\nContent-Length: 101\r\n\r\n");
  const std::string much(1 << 20, ' ');
  bool closed = false;
  for (int i = 0; i < 100 && !closed; ++i) {
    size_t left = much.size();
    while (left > 0 && !closed) {
      const ssize_t sent = ::send(client.get(), much.data(), left, MSG_NOSIGNAL);
      if (sent > 0) left -= static_cast<size_t>(sent);
      closed = sent < 0 && errno != EAGAIN;
      spin(1);
    }
  }
  EXPECT_TRUE(closed);
}

TEST_F(ConnectionTest, AClientThatDoesNotReadWaitsAndLosesNothing) {
  const auto client = connect();
  int sent_requests = 0;
  int last_applied = -1;
  std::string_view rest = kGetVersion;
  // Until neither side moves any more.
  while (last_applied != monitor_.applied || sent_requests == 0) {
    last_applied = monitor_.applied;
    for (int i = 0; i < 1000; ++i) {
      const ssize_t sent = ::send(client.get(), rest.data(), rest.size(), MSG_NOSIGNAL);
      if (sent < 0) break;
      rest.remove_prefix(static_cast<size_t>(sent));
      if (!rest.empty()) continue;
      rest = kGetVersion;
      ++sent_requests;
    }
    spin(50);
  }
  EXPECT_LT(monitor_.applied, sent_requests) << "requests wait as well";
  const auto other = connect();
  send_all(other, kGetVersion);
  EXPECT_TRUE(receive(other, "}").starts_with("HTTP/1.1 200"));
  ::shutdown(client.get(), SHUT_WR);
  const auto text = receive_all(client, 10'000);
  ASSERT_TRUE(text);
  EXPECT_EQ(count(*text, "\"firecracker_version\""), static_cast<size_t>(sent_requests));
}

TEST_F(ConnectionTest, AnswersAClientThatHasShutItsSendingSide) {
  monitor_.hold_pauses = true;
  const auto client = connect();
  send_all(client, std::string(kPause) + std::string(kGetVersion));
  ::shutdown(client.get(), SHUT_WR);
  spin();
  EXPECT_TRUE(is_quiet(client));
  ASSERT_EQ(monitor_.held.size(), 1U);
  monitor_.held.front()(NoContent{});
  const auto text = receive_all(client);
  ASSERT_TRUE(text);
  EXPECT_TRUE(text->starts_with("HTTP/1.1 204")) << *text;
  EXPECT_EQ(count(*text, "HTTP/1.1 200"), 1U) << "the pipelined request as well";
}

TEST_F(ConnectionTest, ServesOneRequestOfAClientAtATime) {
  monitor_.hold_pauses = true;
  const auto client = connect();
  send_all(client, std::string(kPause) + std::string(kGetVersion));
  spin();
  EXPECT_EQ(monitor_.applied, 1);
  EXPECT_TRUE(is_quiet(client));
  monitor_.held.front()(base::fail(base::ErrorCode::kIo, "not today"));
  const std::string text = receive(client, "firecracker_version");
  EXPECT_LT(text.find("not today"), text.find("firecracker_version"));
}

TEST_F(ConnectionTest, AClientGoneWhileItsReplyIsPendingLeavesNothing) {
  monitor_.hold_pauses = true;
  spin();
  const size_t before = open_descriptors();
  for (int i = 0; i < 10; ++i) {
    const auto client = connect();
    send_all(client, kPause);
    spin();
  }
  ASSERT_EQ(monitor_.held.size(), 10U);
  for (auto& reply : std::exchange(monitor_.held, {})) reply(NoContent{});
  spin(50);
  EXPECT_EQ(open_descriptors(), before);
}

TEST_F(ConnectionTest, TakesARequestInSingleBytes) {
  const auto client = connect();
  const std::string request = put("/metrics", R"({"metrics_path":"/m"})");
  for (const char c : request) send_all(client, std::string_view(&c, 1));
  EXPECT_NE(receive(client, "}").find("told to fail"), std::string::npos);
}

}  // namespace
}  // namespace mote::api_server
