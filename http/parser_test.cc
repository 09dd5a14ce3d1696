#include "http/parser.h"

#include <gtest/gtest.h>

namespace mote::http {
namespace {

constexpr size_t kBodyLimit = 100;

ParseState feed(Parser& parser, std::string& input, std::string_view more) {
  input += more;
  return parser.advance(input);
}

TEST(HttpParser, TakesARequestSplitAnywhere) {
  const std::string text = "PUT /vm HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody";
  for (size_t split = 0; split <= text.size(); ++split) {
    Parser parser(kBodyLimit);
    std::string input;
    const auto first = feed(parser, input, text.substr(0, split));
    if (split < text.size()) {
      ASSERT_EQ(first, ParseState::kNeedMore) << split;
      ASSERT_EQ(feed(parser, input, text.substr(split)), ParseState::kComplete) << split;
    }
    const Request request = parser.take();
    EXPECT_EQ(request.method, "PUT");
    EXPECT_EQ(request.target, "/vm");
    EXPECT_EQ(request.body, "body");
    EXPECT_TRUE(request.keep_alive);
    EXPECT_TRUE(input.empty());
  }
}

TEST(HttpParser, LeavesTheNextRequestInTheInput) {
  Parser parser(kBodyLimit);
  std::string input;
  ASSERT_EQ(feed(parser, input,
                 "GET / HTTP/1.1\r\n\r\nGET /version HTTP/1.1\r\nConnection: close\r\n\r\n"),
            ParseState::kComplete);
  EXPECT_EQ(parser.take().target, "/");
  ASSERT_EQ(parser.advance(input), ParseState::kComplete);
  const Request second = parser.take();
  EXPECT_EQ(second.target, "/version");
  EXPECT_FALSE(second.keep_alive);
}

TEST(HttpParser, AsksForTheBodyOnceWhenTheClientWaits) {
  Parser parser(kBodyLimit);
  std::string input;
  EXPECT_EQ(
      feed(parser, input, "PUT / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"),
      ParseState::kNeedContinue);
  EXPECT_EQ(feed(parser, input, "a"), ParseState::kNeedMore);
  EXPECT_EQ(feed(parser, input, "b"), ParseState::kComplete);
  EXPECT_EQ(parser.take().body, "ab");
}

TEST(HttpParser, TakesChunkedBodies) {
  Parser parser(kBodyLimit);
  std::string input;
  ASSERT_EQ(
      feed(parser, input,
           "PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"),
      ParseState::kComplete);
  EXPECT_EQ(parser.take().body, "abcde");
}

TEST(HttpParser, BoundsBodyAndHead) {
  Parser body(kBodyLimit);
  std::string input;
  EXPECT_EQ(feed(body, input, "PUT / HTTP/1.1\r\nContent-Length: 101\r\n\r\n"), ParseState::kBad);
  EXPECT_NE(body.error().find("100 bytes"), std::string::npos);
  Parser head(kBodyLimit);
  input = "GET / HTTP/1.1\r\nX: " + std::string(2 * Parser::kHeaderLimitBytes, 'x');
  EXPECT_EQ(head.advance(input), ParseState::kBad);
  Parser line(kBodyLimit);
  input = "GET /" + std::string(2 * Parser::kHeaderLimitBytes, 'x');
  EXPECT_EQ(line.advance(input), ParseState::kBad);
}

TEST(HttpParser, TakesAHeadAndABodyOfExactlyTheLimit) {
  Parser parser(kBodyLimit);
  std::string input = "PUT / HTTP/1.1\r\nContent-Length: 100\r\nX: ";
  input += std::string(Parser::kHeaderLimitBytes - input.size() - 4, 'x') + "\r\n\r\n";
  input += std::string(kBodyLimit, 'b');
  ASSERT_EQ(parser.advance(input), ParseState::kComplete) << parser.error();
  EXPECT_EQ(parser.take().body.size(), kBodyLimit);
}

TEST(HttpParser, BoundsChunkedBodiesAsWell) {
  Parser one(kBodyLimit);
  std::string input = "PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nfffffff\r\n";
  EXPECT_EQ(one.advance(input), ParseState::kBad);
  // Many small chunks come to the same.
  Parser many(kBodyLimit);
  input = "PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
  ParseState state = many.advance(input);
  for (int i = 0; i < 101 && state == ParseState::kNeedMore; ++i) {
    state = feed(many, input, "1\r\nx\r\n");
  }
  EXPECT_EQ(state, ParseState::kBad);
}

TEST(HttpParser, ClosesAfterHttp10UnlessAskedNotTo) {
  Parser parser(kBodyLimit);
  std::string input = "GET / HTTP/1.0\r\n\r\nGET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n";
  ASSERT_EQ(parser.advance(input), ParseState::kComplete);
  EXPECT_FALSE(parser.take().keep_alive);
  ASSERT_EQ(parser.advance(input), ParseState::kComplete);
  EXPECT_TRUE(parser.take().keep_alive);
}

TEST(HttpParser, TakesAnEmptyChunkedBodyByteByByte) {
  const std::string text = "PUT /vm HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
  Parser parser(kBodyLimit);
  std::string input;
  for (size_t i = 0; i < text.size(); ++i) {
    const ParseState state = feed(parser, input, text.substr(i, 1));
    ASSERT_EQ(state, i + 1 == text.size() ? ParseState::kComplete : ParseState::kNeedMore) << i;
  }
  EXPECT_EQ(parser.take().body, "");
}

TEST(HttpParser, TakesARequestByteByByteAfterAnother) {
  const std::string text =
      "PUT /vm HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n";
  Parser parser(kBodyLimit);
  std::string input;
  for (int round = 0; round < 3; ++round) {
    for (size_t i = 0; i < text.size(); ++i) {
      const ParseState state = feed(parser, input, text.substr(i, 1));
      ASSERT_EQ(state, i + 1 == text.size() ? ParseState::kComplete : ParseState::kNeedMore) << i;
    }
    EXPECT_EQ(parser.take().body, "ab");
  }
}

TEST(HttpParser, RefusesGarbage) {
  for (const std::string_view text :
       {"\r\n\r\n\r\n\r\n", "GET\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "G\x01T / HTTP/1.1\r\n\r\n",
        "PUT / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        "PUT / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
        "PUT / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        // Who reads the one and who reads the other would see different requests.
        "PUT / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        "PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n\r\n",
        "GET / HTTP/1.1\r\nbad header\r\n\r\n", "GET / HTTP/1.1\r\n folded: x\r\n\r\n",
        "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 hello"}) {
    Parser parser(kBodyLimit);
    std::string input(text);
    EXPECT_EQ(parser.advance(input), ParseState::kBad) << text;
    EXPECT_FALSE(parser.error().empty());
  }
}

TEST(HttpParser, TellsHeaderFieldsWithoutRegardToCase) {
  Parser parser(kBodyLimit);
  std::string input;
  ASSERT_EQ(feed(parser, input, "GET / HTTP/1.1\r\nX-Token: one\r\nx-token: two\r\n\r\n"),
            ParseState::kComplete);
  EXPECT_EQ(parser.field("X-TOKEN"), "one");
  EXPECT_FALSE(parser.field("Accept"));
  (void)parser.take();
  EXPECT_FALSE(parser.field("X-Token")) << "the next request is another one";
}

}  // namespace
}  // namespace mote::http
