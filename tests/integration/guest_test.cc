#include "tests/integration/guest_test.h"

#include <fcntl.h>

#include <cstring>

namespace mote::integration {

std::string guest_image(const std::string& name) {
  return std::string(TINY_GUEST_FOLDER) + "/" + name + ".elf";
}

std::string boot_source_json(const std::string& kernel, const std::string& arguments) {
  return R"({"kernel_image_path":")" + kernel + R"(","boot_args":")" + arguments + R"("})";
}

std::string machine_json(unsigned vcpus, unsigned mem_size_mib) {
  return R"({"vcpu_count":)" + std::to_string(vcpus) + R"(,"mem_size_mib":)" +
         std::to_string(mem_size_mib) + "}";
}

std::string drive_json(const std::string& id, const std::string& path, const std::string& more) {
  return R"({"drive_id":")" + id + R"(","path_on_host":")" + path + R"(","is_root_device":false)" +
         more + "}";
}

std::string network_json(const std::string& id, const std::string& tap) {
  return R"({"iface_id":")" + id + R"(","host_dev_name":")" + tap +
         R"(","guest_mac":"02:00:00:00:00:42"})";
}

std::string config_json(const std::string& guest, const std::string& arguments,
                        const std::string& more) {
  return R"({"boot-source":)" + boot_source_json(guest_image(guest), arguments) +
         R"(,"machine-config":)" + machine_json(1, 128) + more + "}";
}

std::string disk_pattern(size_t sectors) {
  constexpr size_t kSector = 512;
  std::string content(sectors * kSector, '\0');
  for (size_t i = 0; i < content.size(); ++i) {
    content[i] = static_cast<char>((i / kSector * 31 + i % kSector) & 0xff);
  }
  return content;
}

void GuestTest::SetUp() {
  const base::UniqueFd kvm(::open("/dev/kvm", O_RDWR | O_CLOEXEC));
  if (!kvm.valid()) GTEST_SKIP() << "/dev/kvm: " << std::strerror(errno);
}

Ending GuestTest::run_to_end(const std::string& guest, const std::string& arguments,
                             const std::string& more) {
  const std::string config = folder_.write("config.json", config_json(guest, arguments, more));
  mote_ = std::make_unique<MonitorProcess>(
      folder_, std::vector<std::string>{"--no-api", "--boot-timer", "--config-file", config});
  const auto ending = mote_->wait();
  EXPECT_TRUE(ending) << "the guest did not end; console: " << mote_->console();
  return ending.value_or(Ending{});
}

void GuestTest::prepare(const std::string& guest, const std::string& arguments, unsigned vcpus) {
  mote_ = MonitorProcess::with_api(folder_, {"--boot-timer"});
  ASSERT_TRUE(is_status(
      mote_->request("PUT", "/boot-source", boot_source_json(guest_image(guest), arguments)), 204));
  ASSERT_TRUE(is_status(mote_->request("PUT", "/machine-config", machine_json(vcpus, 128)), 204));
}

void GuestTest::start() {
  ASSERT_TRUE(is_status(mote_->request("PUT", "/actions", kInstanceStart), 204));
}

void GuestTest::expect_end(const Ending& ending) {
  const auto actual = mote_->wait();
  ASSERT_TRUE(actual) << "the process goes on; console: " << mote_->console();
  EXPECT_EQ(*actual, ending) << mote_->log();
}

testing::AssertionResult is_status(const Response& response, unsigned status) {
  if (response.status == status) return testing::AssertionSuccess();
  return testing::AssertionFailure()
         << "status " << response.status << " instead of " << status << ": " << response.body;
}

}  // namespace mote::integration
