#include "http/response.h"

#include <gtest/gtest.h>

namespace mote::http {
namespace {

TEST(FormatResponse, SaysWhatTheReferenceSays) {
  EXPECT_EQ(format_response({.status = 204}),
            "HTTP/1.1 204 No Content\r\nServer: Firecracker API\r\nConnection: keep-alive\r\n\r\n");
  EXPECT_EQ(format_response({.status = 400, .body = "{}", .use = ConnectionUse::kClosed}),
            "HTTP/1.1 400 Bad Request\r\nServer: Firecracker API\r\nConnection: close\r\n"
            "Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}");
  EXPECT_EQ(format_response({.status = 100}), "HTTP/1.1 100 Continue\r\n\r\n");
}

TEST(FormatResponse, TellsTheLengthOfABodyItOmits) {
  const std::string head =
      format_response({.body = "{\"a\":1}", .body_use = ResponseBody::kOmitted});
  EXPECT_TRUE(head.ends_with("Content-Length: 7\r\n\r\n")) << head;
}

TEST(FormatResponse, CarriesFurtherFieldsAndAnotherType) {
  EXPECT_EQ(format_response({.status = 405,
                             .body = "no",
                             .content_type = "text/plain",
                             .more_fields = "Allow: GET\r\n"}),
            "HTTP/1.1 405 Method Not Allowed\r\nServer: Firecracker API\r\n"
            "Connection: keep-alive\r\nAllow: GET\r\nContent-Type: text/plain\r\n"
            "Content-Length: 2\r\n\r\nno");
}

}  // namespace
}  // namespace mote::http
