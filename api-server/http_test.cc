#include "api-server/http.h"

#include <gtest/gtest.h>

namespace mote::api_server {
namespace {

constexpr size_t kBodyLimit = 100;

ParseState feed(HttpParser& parser, std::string& input, std::string_view more) {
  input += more;
  return parser.advance(input);
}

TEST(HttpParser, TakesARequestSplitAnywhere) {
  const std::string text = "PUT /vm HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody";
  for (size_t split = 0; split <= text.size(); ++split) {
    HttpParser parser(kBodyLimit);
    std::string input;
    const auto first = feed(parser, input, text.substr(0, split));
    if (split < text.size()) {
      ASSERT_EQ(first, ParseState::kNeedMore) << split;
      ASSERT_EQ(feed(parser, input, text.substr(split)), ParseState::kComplete) << split;
    }
    const HttpRequest request = parser.take();
    EXPECT_EQ(request.method, "PUT");
    EXPECT_EQ(request.target, "/vm");
    EXPECT_EQ(request.body, "body");
    EXPECT_TRUE(request.keep_alive);
    EXPECT_TRUE(input.empty());
  }
}

TEST(HttpParser, LeavesTheNextRequestInTheInput) {
  HttpParser parser(kBodyLimit);
  std::string input;
  ASSERT_EQ(feed(parser, input,
                 "GET / HTTP/1.1\r\n\r\nGET /version HTTP/1.1\r\nConnection: close\r\n\r\n"),
            ParseState::kComplete);
  EXPECT_EQ(parser.take().target, "/");
  ASSERT_EQ(parser.advance(input), ParseState::kComplete);
  const HttpRequest second = parser.take();
  EXPECT_EQ(second.target, "/version");
  EXPECT_FALSE(second.keep_alive);
}

TEST(HttpParser, AsksForTheBodyOnceWhenTheClientWaits) {
  HttpParser parser(kBodyLimit);
  std::string input;
  EXPECT_EQ(
      feed(parser, input, "PUT / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"),
      ParseState::kNeedContinue);
  EXPECT_EQ(feed(parser, input, "a"), ParseState::kNeedMore);
  EXPECT_EQ(feed(parser, input, "b"), ParseState::kComplete);
  EXPECT_EQ(parser.take().body, "ab");
}

TEST(HttpParser, TakesChunkedBodies) {
  HttpParser parser(kBodyLimit);
  std::string input;
  ASSERT_EQ(
      feed(parser, input,
           "PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"),
      ParseState::kComplete);
  EXPECT_EQ(parser.take().body, "abcde");
}

TEST(HttpParser, BoundsBodyAndHead) {
  HttpParser body(kBodyLimit);
  std::string input;
  EXPECT_EQ(feed(body, input, "PUT / HTTP/1.1\r\nContent-Length: 101\r\n\r\n"), ParseState::kBad);
  EXPECT_NE(body.error().find("100 bytes"), std::string::npos);
  HttpParser head(kBodyLimit);
  input = "GET / HTTP/1.1\r\nX: " + std::string(2 * HttpParser::kHeaderLimitBytes, 'x');
  EXPECT_EQ(head.advance(input), ParseState::kBad);
  HttpParser line(kBodyLimit);
  input = "GET /" + std::string(2 * HttpParser::kHeaderLimitBytes, 'x');
  EXPECT_EQ(line.advance(input), ParseState::kBad);
}

TEST(HttpParser, RefusesGarbage) {
  for (const std::string_view text :
       {"\r\n\r\n\r\n\r\n", "GET\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "G\x01T / HTTP/1.1\r\n\r\n",
        "PUT / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        "PUT / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
        "PUT / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 hello"}) {
    HttpParser parser(kBodyLimit);
    std::string input(text);
    EXPECT_EQ(parser.advance(input), ParseState::kBad) << text;
    EXPECT_FALSE(parser.error().empty());
  }
}

TEST(FormatResponse, SaysWhatTheReferenceSays) {
  EXPECT_EQ(format_response(204, {}, true),
            "HTTP/1.1 204 No Content\r\nServer: Firecracker API\r\nConnection: keep-alive\r\n\r\n");
  const std::string fault = format_response(400, "{}", false);
  EXPECT_NE(fault.find("Connection: close\r\n"), std::string::npos);
  EXPECT_TRUE(fault.ends_with("Content-Length: 2\r\n\r\n{}"));
}

}  // namespace
}  // namespace mote::api_server
