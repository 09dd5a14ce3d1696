#include "api-server/config_file.h"

#include <gtest/gtest.h>

namespace mote::api_server {
namespace {

using namespace monitor;

TEST(ConfigFile, GivesActionsInTheOrderTheyMustBeApplied) {
  const auto actions = decode_config_file(R"({
    "drives":[{"drive_id":"root","is_root_device":true,"path_on_host":"/d"},
              {"drive_id":"data","is_root_device":false,"path_on_host":"/e"}],
    "boot-source":{"kernel_image_path":"/k"},
    "machine-config":{"vcpu_count":1,"mem_size_mib":64},
    "network-interfaces":[], "vsock":null, "logger":{"log_path":"/l"}})");
  ASSERT_TRUE(actions) << actions.error().message();
  ASSERT_EQ(actions->size(), 5U);
  EXPECT_TRUE(std::holds_alternative<PutLogger>((*actions)[0]));
  EXPECT_TRUE(std::holds_alternative<PutMachineConfig>((*actions)[1]));
  EXPECT_EQ(std::get<PutDrive>((*actions)[4]).config.drive_id, "data");
}

TEST(ConfigFile, ErrorsNameSectionAndIndex) {
  const auto message = [](std::string_view text) {
    return decode_config_file(text).error().message();
  };
  EXPECT_NE(message(R"({"drives":[{"drive_id":"a","is_root_device":true},{"drive_id":"b"}]})")
                .find("drives[1]: is_root_device"),
            std::string::npos);
  EXPECT_NE(message(R"({"drives":{}})").find("drives: must be an array"), std::string::npos);
  EXPECT_NE(message(R"({"dirves":[]})").find("dirves"), std::string::npos);
  EXPECT_NE(message(R"({"vsock":{"guest_cid":3}})").find("vsock: This device is not offered"),
            std::string::npos);
  EXPECT_NE(message("nonsense").find("not valid JSON"), std::string::npos);
  EXPECT_NE(message("[]").find("must be a JSON object"), std::string::npos);
}

}  // namespace
}  // namespace mote::api_server
