#include "devices/mmds/service.h"

#include <gtest/gtest.h>

#include <boost/json.hpp>

namespace mote::mmds {
namespace {

constexpr uint64_t kNow = 1'000'000'000'000;

class ServiceTest : public testing::Test {
 protected:
  ServiceTest() {
    const auto content = boost::json::parse(
        R"({"latest":{"meta-data":{"id":"i-1","size":7,"roles":["web"]},"user-data":"hello"}})");
    EXPECT_TRUE(service_.store().replace(content.as_object()));
  }
  void use(Version version, bool imds_compat = false) {
    service_.configure(
        {.version = version, .network_interfaces = {"eth0"}, .imds_compat = imds_compat});
  }
  std::string ask(std::string head, uint64_t now_ns = kNow) {
    http::Parser parser(1024);
    head += "\r\n";
    EXPECT_EQ(parser.advance(head), http::ParseState::kComplete) << parser.error();
    return service_.answer(parser, now_ns).bytes;
  }
  static unsigned status(const std::string& answer) {
    return static_cast<unsigned>(std::stoul(answer.substr(9, 3)));
  }
  static std::string body(const std::string& answer) {
    return answer.substr(answer.find("\r\n\r\n") + 4);
  }

  Service service_{4096};
};

TEST_F(ServiceTest, TheFormatFollowsAccept) {
  use(Version::kV1);
  const std::string plain = ask("GET /latest/meta-data HTTP/1.1\r\n");
  EXPECT_EQ(status(plain), 200U);
  EXPECT_EQ(body(plain), "id\nsize\nroles");
  EXPECT_NE(plain.find("Content-Type: text/plain\r\n"), std::string::npos) << plain;
  EXPECT_EQ(body(ask("GET /latest/user-data HTTP/1.1\r\nAccept: */*\r\n")), "hello");
  const std::string json =
      ask("GET /latest/meta-data HTTP/1.1\r\nAccept: text/html, Application/JSON;q=0.9\r\n");
  EXPECT_EQ(body(json), R"({"id":"i-1","size":7,"roles":["web"]})");
  EXPECT_NE(json.find("Content-Type: application/json\r\n"), std::string::npos) << json;
}

TEST_F(ServiceTest, ImdsCompatMakesEveryAnswerPlainText) {
  use(Version::kV1, true);
  const std::string answer = ask("GET /latest/user-data HTTP/1.1\r\nAccept: application/json\r\n");
  EXPECT_EQ(body(answer), "hello");
  EXPECT_NE(answer.find("Content-Type: text/plain\r\n"), std::string::npos) << answer;
}

TEST_F(ServiceTest, RefusesAsTheReferenceDoes) {
  use(Version::kV1);
  const std::string absent = ask("GET /no/such HTTP/1.1\r\n");
  EXPECT_EQ(status(absent), 404U);
  EXPECT_EQ(body(absent), "Resource not found: /no/such.");
  const std::string number = ask("GET /latest/meta-data/size HTTP/1.1\r\n");
  EXPECT_EQ(status(number), 501U);
  EXPECT_EQ(body(number), "Cannot retrieve value. The value has an unsupported type.");
  const std::string method = ask("DELETE /latest HTTP/1.1\r\n");
  EXPECT_EQ(status(method), 405U);
  EXPECT_NE(method.find("Allow: GET, PUT\r\n"), std::string::npos) << method;
  EXPECT_EQ(body(ask("HEAD /latest HTTP/1.1\r\n")), "") << "a HEAD's answer has no body";
  EXPECT_EQ(body(ask("GET http:// HTTP/1.0\r\n")), "Invalid URI.");
}

TEST_F(ServiceTest, TakesAbsoluteTargetsDoubledSlashesAndQueries) {
  use(Version::kV1);
  for (const char* const target : {"http://169.254.169.254/latest/user-data",
                                   "//latest///user-data/", "/latest/user-data?x=1"}) {
    EXPECT_EQ(body(ask("GET " + std::string(target) + " HTTP/1.1\r\n")), "hello") << target;
  }
}

TEST_F(ServiceTest, V2AnswersOnlyWhoShowsAToken) {
  use(Version::kV2);
  EXPECT_EQ(status(ask("GET /latest HTTP/1.1\r\n")), 401U);
  EXPECT_EQ(body(ask("GET /latest HTTP/1.1\r\nX-metadata-token: 00\r\n")), "MMDS token not valid.");
  const std::string given =
      ask("PUT /latest/api/token HTTP/1.1\r\nX-metadata-token-ttl-seconds: 60\r\n");
  ASSERT_EQ(status(given), 200U);
  EXPECT_NE(given.find("X-metadata-token-ttl-seconds: 60\r\n"), std::string::npos) << given;
  const std::string with_token =
      "GET /latest/user-data HTTP/1.1\r\nx-metadata-token: " + body(given) + "\r\n";
  EXPECT_EQ(body(ask(with_token)), "hello");
  EXPECT_EQ(status(ask(with_token, kNow + 60'000'000'000)), 401U) << "its minute is over";
  EXPECT_EQ(service_.metrics().rx_no_token, 1U);
  EXPECT_EQ(service_.metrics().rx_invalid_token, 2U);
}

TEST_F(ServiceTest, KnowsTheHeadersOfEc2sClients) {
  use(Version::kV2);
  const std::string given =
      ask("PUT /latest/api/token HTTP/1.1\r\nX-aws-ec2-metadata-token-ttl-seconds: 21600\r\n");
  ASSERT_EQ(status(given), 200U);
  EXPECT_NE(given.find("X-aws-ec2-metadata-token-ttl-seconds: 21600\r\n"), std::string::npos);
  EXPECT_EQ(body(ask("GET /latest/user-data HTTP/1.1\r\nX-aws-ec2-metadata-token: " + body(given) +
                     "\r\n")),
            "hello");
}

TEST_F(ServiceTest, V1GivesTokensAndDoesNotAskForThem) {
  use(Version::kV1);
  EXPECT_EQ(status(ask("PUT /latest/api/token HTTP/1.1\r\nX-metadata-token-ttl-seconds: 60\r\n")),
            200U);
  EXPECT_EQ(body(ask("GET /latest/user-data HTTP/1.1\r\nX-metadata-token: bad\r\n")), "hello");
}

TEST_F(ServiceTest, RefusesTokenRequestsThatAreWrong) {
  use(Version::kV2);
  const std::string token = "PUT /latest/api/token HTTP/1.1\r\n";
  EXPECT_EQ(status(ask(token)), 400U);
  for (const char* const lifetime : {"0", "21601", "", "-1", "60s", "99999999999999999999"}) {
    EXPECT_EQ(status(ask(token + "X-metadata-token-ttl-seconds: " + lifetime + "\r\n")), 400U)
        << lifetime;
  }
  EXPECT_EQ(status(ask(token + "X-metadata-token-ttl-seconds: 60\r\nX-Forwarded-For: 1.2.3.4\r\n")),
            400U);
  EXPECT_EQ(status(ask("PUT /latest HTTP/1.1\r\nX-metadata-token-ttl-seconds: 60\r\n")), 404U);
}

}  // namespace
}  // namespace mote::mmds
