// Clients that are wrong, rude or broken. None of them may disturb the guest, other clients, or
// what the process holds.

#include <algorithm>
#include <random>
#include <thread>
#include <vector>

#include "tests/integration/guest_test.h"

namespace mote::integration {
namespace {

using namespace std::chrono_literals;

struct WrongRequest {
  const char* method;
  const char* path;
  const char* body;
  const char* named;  ///< What the answer has to name.
};

constexpr const char* kNoSuchFile = "/nonexistent/file";

constexpr WrongRequest kWrongRequests[] = {
    {"PUT", "/machine-config", R"({"vcpu_count":0,"mem_size_mib":128})", "vcpu_count"},
    {"PUT", "/machine-config", R"({"vcpu_count":33,"mem_size_mib":128})", "vcpu_count"},
    {"PUT", "/machine-config", R"({"vcpu_count":-1,"mem_size_mib":128})", "vcpu_count"},
    {"PUT", "/machine-config", R"({"vcpu_count":1.5,"mem_size_mib":128})", "vcpu_count"},
    {"PUT", "/machine-config", R"({"vcpu_count":"1","mem_size_mib":128})", "vcpu_count"},
    {"PUT", "/machine-config", R"({"vcpu_count":1})", "mem_size_mib"},
    {"PUT", "/machine-config", R"({"vcpu_count":1,"mem_size_mib":0})", "mem_size_mib"},
    {"PUT", "/machine-config", R"({"vcpu_count":1,"mem_size_mib":1e30})", "mem_size_mib"},
    {"PUT", "/machine-config", R"({"vcpu_count":3,"mem_size_mib":128,"smt":true})", "vcpu_count"},
    {"PUT", "/machine-config", R"({"vcpu_count":1,"mem_size_mib":128,"bogus":1})", "bogus"},
    {"PUT", "/machine-config", R"({"vcpu_count":1,"mem_size_mib":128,"huge_pages":"1G"})",
     "huge_pages"},
    {"PUT", "/machine-config", R"({"vcpu_count":1,"mem_size_mib":127,"huge_pages":"2M"})",
     "mem_size_mib"},
    {"PATCH", "/machine-config", R"({"smt":"yes"})", "smt"},
    {"PUT", "/boot-source", R"({})", "kernel_image_path"},
    {"PUT", "/boot-source", R"({"kernel_image_path":"/nonexistent/file"})", kNoSuchFile},
    {"PUT", "/boot-source", R"({"kernel_image_path":"/tmp"})", "kernel_image_path"},
    {"PUT", "/boot-source", R"({"kernel_image_path":7})", "kernel_image_path"},
    {"PUT", "/boot-source",
     R"({"kernel_image_path":"/proc/self/exe","initrd_path":"/nonexistent/file"})", "initrd_path"},
    {"PUT", "/drives/d", R"({"drive_id":"d","is_root_device":false})", "path_on_host"},
    {"PUT", "/drives/d",
     R"({"drive_id":"d","path_on_host":"/nonexistent/file","is_root_device":false})", kNoSuchFile},
    {"PUT", "/drives/d", R"({"drive_id":"d","path_on_host":"/tmp","is_root_device":false})",
     "path_on_host"},
    {"PUT", "/drives/d", R"({"drive_id":"d","path_on_host":"/dev/zero","is_root_device":false})",
     "path_on_host"},
    {"PUT", "/drives/d", R"({"drive_id":"e","path_on_host":"/dev/zero","is_root_device":false})",
     "drive_id"},
    {"PUT", "/drives/d", R"({"drive_id":"d","path_on_host":"/dev/zero","is_root_device":1})",
     "is_root_device"},
    {"PUT", "/drives/d",
     R"({"drive_id":"d","path_on_host":"/x","is_root_device":false,"cache_type":"Fast"})",
     "cache_type"},
    {"PUT", "/drives/d",
     R"({"drive_id":"d","path_on_host":"/x","is_root_device":false,"rate_limiter":{"ops":{}}})",
     "rate_limiter.ops"},
    {"PUT", "/network-interfaces/n", R"({"iface_id":"n"})", "host_dev_name"},
    {"PUT", "/network-interfaces/n", R"({"iface_id":"n","host_dev_name":""})", "host_dev_name"},
    {"PUT", "/network-interfaces/n",
     R"({"iface_id":"n","host_dev_name":"name-of-more-than-15-bytes"})", "host_dev_name"},
    {"PUT", "/network-interfaces/n", R"({"iface_id":"n","host_dev_name":"lo"})", "host_dev_name"},
    {"PUT", "/network-interfaces/n",
     R"({"iface_id":"n","host_dev_name":"t","guest_mac":"02:00:00:00:00"})", "guest_mac"},
    {"PUT", "/network-interfaces/n", R"({"iface_id":"n","host_dev_name":"t","mtu":20})", "mtu"},
    {"PUT", "/logger", R"({"level":"Loud"})", "level"},
    {"PUT", "/logger", R"({"log_path":"/nonexistent/file"})", "log_path"},
    {"PUT", "/metrics", R"({"metrics_path":"/nonexistent/file"})", "metrics_path"},
    {"PUT", "/actions", R"({"action_type":"Dance"})", "action_type"},
    {"PUT", "/actions", R"({"action_type":"SendCtrlAltDel"})", "not supported before starting"},
    {"PUT", "/actions", R"({"action_type":"InstanceStart"})", "kernel_image_path"},
    {"PATCH", "/vm", R"({"state":"Sideways"})", "state"},
    {"PATCH", "/vm", R"({"state":"Paused"})", "not supported before starting"},
    {"PATCH", "/drives/d", R"({"drive_id":"d","path_on_host":"/x"})",
     "not supported before starting"},
    {"PUT", "/cpu-config", R"({"kvm_capabilities":["x"]})", "kvm_capabilities"},
    {"PUT", "/machine-config", R"([])", "object"},
    {"PUT", "/machine-config", R"({"vcpu_count":1,)", "JSON"},
    {"PUT", "/vsock", R"({"guest_cid":3,"uds_path":"/x"})", "virtio-net and virtio-blk"},
    {"PUT", "/balloon", R"({"amount_mib":3})", "virtio-net and virtio-blk"},
};

class ApiAbuseTest : public GuestTest {
 protected:
  void start_ticking_guest() {
    ASSERT_NO_FATAL_FAILURE(prepare("spin", "tick=5"));
    ASSERT_NO_FATAL_FAILURE(start());
    ASSERT_TRUE(mote_->wait_for_console(".\n"));
  }
  void expect_ticking() const {
    const size_t before = mote_->console().size();
    for (int i = 0; i < 5000 && mote_->console().size() == before; ++i) {
      std::this_thread::sleep_for(1ms);
    }
    EXPECT_GT(mote_->console().size(), before) << "the guest stands still";
    const Response info = mote_->request("GET", "/");
    ASSERT_TRUE(is_status(info, 200));
    EXPECT_NE(info.body.find(R"("state":"Running")"), std::string::npos) << info.body;
  }
};

TEST_F(ApiAbuseTest, EveryWrongRequestIsAnsweredByNamingWhatIsWrong) {
  mote_ = MonitorProcess::with_api(folder_);
  ApiClient client(mote_->socket_path());
  for (const WrongRequest& wrong : kWrongRequests) {
    const Response answer = client.request(wrong.method, wrong.path, wrong.body);
    EXPECT_TRUE(is_status(answer, 400)) << wrong.method << ' ' << wrong.path << ' ' << wrong.body;
    EXPECT_TRUE(answer.body.starts_with(R"({"fault_message":")")) << answer.body;
    EXPECT_NE(answer.body.find(wrong.named), std::string::npos) << wrong.body << answer.body;
  }
  EXPECT_TRUE(is_status(client.request("GET", "/nowhere"), 404));
  EXPECT_TRUE(is_status(client.request("DELETE", "/"), 400));
}

TEST_F(ApiAbuseTest, WhatWasRightBeforeBootIsRefusedAfterIt) {
  ASSERT_NO_FATAL_FAILURE(start_ticking_guest());
  const std::string kernel = boot_source_json(guest_image("hello"), "");
  const std::pair<const char*, std::string> requests[] = {
      {"/boot-source", kernel},
      {"/machine-config", machine_json(1, 128)},
      {"/drives/d", drive_json("d", guest_image("hello"))},
      {"/network-interfaces/n", network_json("n", "tap-none")},
      {"/serial", R"({"serial_out_path":"/dev/null"})"},
      {"/actions", kInstanceStart},
  };
  for (const auto& [path, body] : requests) {
    const Response answer = mote_->request("PUT", path, body);
    EXPECT_TRUE(is_status(answer, 400)) << path;
    EXPECT_NE(answer.body.find("after starting the microVM"), std::string::npos) << answer.body;
  }
  ASSERT_NO_FATAL_FAILURE(expect_ticking());
}

TEST_F(ApiAbuseTest, RefusedRequestsLeakNothing) {
  mote_ = MonitorProcess::with_api(folder_);
  // A kernel that is refused only once a VM is half built.
  const std::string kernel = folder_.write("kernel", std::string(100'000, 'x'));
  const auto cycle = [&] {
    ApiClient client(mote_->socket_path());
    for (const WrongRequest& wrong : kWrongRequests) {
      ASSERT_EQ(client.request(wrong.method, wrong.path, wrong.body).status, 400U) << wrong.body;
    }
  };
  const auto failing_start = [&] {
    ASSERT_TRUE(
        is_status(mote_->request("PUT", "/boot-source", boot_source_json(kernel, "")), 204));
    const Response refused = mote_->request("PUT", "/actions", kInstanceStart);
    ASSERT_TRUE(is_status(refused, 400));
    ASSERT_NE(refused.body.find("kernel_image_path"), std::string::npos) << refused.body;
  };
  for (int i = 0; i < 20; ++i) ASSERT_NO_FATAL_FAILURE(cycle());
  const size_t descriptors = mote_->open_descriptors();
  const size_t resident = mote_->resident_bytes();
  for (int i = 0; i < 200; ++i) ASSERT_NO_FATAL_FAILURE(cycle());
  EXPECT_TRUE(mote_->holds_at_most(descriptors));
  EXPECT_LT(mote_->resident_bytes(), resident + kLeakTolerance);

  ASSERT_NO_FATAL_FAILURE(failing_start());
  const size_t descriptors_after_start = mote_->open_descriptors();
  const size_t resident_after_start = mote_->resident_bytes();
  for (int i = 0; i < 200; ++i) ASSERT_NO_FATAL_FAILURE(failing_start());
  EXPECT_TRUE(mote_->holds_at_most(descriptors_after_start));
  EXPECT_LT(mote_->resident_bytes(), resident_after_start + kLeakTolerance);
}

TEST_F(ApiAbuseTest, DevicesDescribedAnewLeakNothing) {
  mote_ = MonitorProcess::with_api(folder_);
  const std::string disk = folder_.write("disk", disk_pattern(64));
  const auto describe = [&] {
    ASSERT_TRUE(is_status(mote_->request("PUT", "/drives/d", drive_json("d", disk)), 204));
  };
  for (int i = 0; i < 20; ++i) ASSERT_NO_FATAL_FAILURE(describe());
  const size_t descriptors = mote_->open_descriptors();
  const size_t resident = mote_->resident_bytes();
  for (int i = 0; i < 500; ++i) ASSERT_NO_FATAL_FAILURE(describe());
  EXPECT_TRUE(mote_->holds_at_most(descriptors));
  EXPECT_LT(mote_->resident_bytes(), resident + kLeakTolerance);
}

/// A request as honest clients send it, then spoiled: bytes changed, cut, doubled or put in.
std::string spoil(std::string text, std::mt19937& random) {
  const auto any = [&](size_t limit) { return random() % std::max<size_t>(limit, 1); };
  for (size_t changes = 1 + any(8); changes > 0 && !text.empty(); --changes) {
    const size_t at = any(text.size());
    switch (any(6)) {
      case 0:
        text[at] = static_cast<char>(random());
        break;
      case 1:
        text.resize(at);
        break;
      case 2:
        text.insert(at, text.substr(at / 2, any(64)));
        break;
      case 3:
        text.insert(at, std::string(any(300), static_cast<char>(random())));
        break;
      case 4:
        text.erase(at, any(20));
        break;
      default:
        text.insert(at, "\r\n\r\n");
        break;
    }
  }
  return text;
}

TEST_F(ApiAbuseTest, TenThousandMalformedRequestsDisturbNobody) {
  ASSERT_NO_FATAL_FAILURE(start_ticking_guest());
  // None of these changes anything after boot, spoiled or not.
  const std::string honest[] = {
      "GET / HTTP/1.1\r\nHost: x\r\nAccept: */*\r\n\r\n",
      "GET /vm/config HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
      "PUT /machine-config HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 36\r\n\r\n"
      R"({"vcpu_count": 2,"mem_size_mib":128})",
      "PATCH /drives/none HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 44\r\n\r\n"
      R"({"drive_id":"none","path_on_host":"/nowhere"})",
      "PUT /boot-source HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
      "1c\r\n{\"kernel_image_path\":\"/none\"}\r\n0\r\n\r\n",
  };
  std::mt19937 random(20260131);  // The same requests in every run.
  for (int i = 0; i < 200; ++i) {
    ApiClient client(mote_->socket_path());
    client.send(spoil(honest[static_cast<size_t>(i) % std::size(honest)], random));
  }
  std::this_thread::sleep_for(50ms);
  const size_t descriptors = mote_->open_descriptors();
  const size_t resident = mote_->resident_bytes();
  for (int i = 0; i < 10'000; ++i) {
    ApiClient client(mote_->socket_path());
    ASSERT_TRUE(client.connected()) << i;
    client.send(spoil(honest[static_cast<size_t>(i) % std::size(honest)], random));
    if (i % 4 == 0) client.finish_sending();
    // Some wait for what comes, the others are gone before the answer.
    if (i % 8 == 0) {
      ASSERT_TRUE(client.receive_all()) << "request " << i << " is left hanging";
    }
    if (i % 1000 == 0) {
      ASSERT_NO_FATAL_FAILURE(expect_ticking());
    }
  }
  ASSERT_NO_FATAL_FAILURE(expect_ticking());
  EXPECT_TRUE(mote_->holds_at_most(descriptors));
  EXPECT_LT(mote_->resident_bytes(), resident + kLeakTolerance);
  EXPECT_LT(mote_->log().size(), 4'000'000U);
}

TEST_F(ApiAbuseTest, AStalledClientDisturbsNobody) {
  ASSERT_NO_FATAL_FAILURE(start_ticking_guest());
  std::vector<std::unique_ptr<ApiClient>> stalled;
  for (int i = 0; i < 10; ++i) {
    stalled.push_back(std::make_unique<ApiClient>(mote_->socket_path()));
    stalled.back()->send("PUT /machine-config HTTP/1.1\r\nContent-Length: 40\r\n\r\n{\"vcpu");
  }
  ASSERT_NO_FATAL_FAILURE(expect_ticking());
  // One that asks and asks and never reads.
  ApiClient greedy(mote_->socket_path());
  for (int i = 0; i < 2000 && greedy.connected(); ++i) {
    if (!greedy.send("GET /vm/config HTTP/1.1\r\n\r\n")) break;
    if (i % 500 == 0) {
      ASSERT_TRUE(is_status(mote_->request("GET", "/"), 200));
    }
  }
  ASSERT_NO_FATAL_FAILURE(expect_ticking());
}

TEST_F(ApiAbuseTest, MoreClientsThanItServesAreNoEnd) {
  ASSERT_NO_FATAL_FAILURE(start_ticking_guest());
  {
    std::vector<std::unique_ptr<ApiClient>> crowd;
    for (int i = 0; i < 300; ++i) {
      crowd.push_back(std::make_unique<ApiClient>(mote_->socket_path()));
    }
  }
  ASSERT_NO_FATAL_FAILURE(expect_ticking());
}

TEST_F(ApiAbuseTest, ABodyOverTheLimitIsRefused) {
  mote_ = MonitorProcess::with_api(folder_, {"--http-api-max-payload-size", "1000"});
  const Response refused =
      mote_->request("PUT", "/logger", R"({"level":")" + std::string(1000, 'x') + R"("})");
  ASSERT_TRUE(is_status(refused, 400));
  EXPECT_NE(refused.body.find("1000"), std::string::npos) << refused.body;
  EXPECT_TRUE(is_status(mote_->request("GET", "/"), 200));
}

TEST_F(ApiAbuseTest, PipelinedRequestsAreAnsweredInOrder) {
  mote_ = MonitorProcess::with_api(folder_);
  ApiClient client(mote_->socket_path());
  ASSERT_TRUE(
      client.send("GET /version HTTP/1.1\r\n\r\nGET /none HTTP/1.1\r\n\r\n"
                  "GET / HTTP/1.1\r\n\r\n"));
  EXPECT_NE(client.receive().body.find("mote_version"), std::string::npos);
  EXPECT_EQ(client.receive().status, 404U);
  EXPECT_NE(client.receive().body.find("app_name"), std::string::npos);
}

TEST_F(ApiAbuseTest, AClientThatOnlyListensOnStillGetsItsAnswer) {
  ASSERT_NO_FATAL_FAILURE(start_ticking_guest());
  // The answer to a pause comes later than the request ends.
  ApiClient client(mote_->socket_path());
  ASSERT_TRUE(
      client.send("PATCH /vm HTTP/1.1\r\nContent-Length: 18\r\n\r\n{\"state\":\"Paused\"}"));
  client.finish_sending();
  EXPECT_TRUE(is_status(client.receive(), 204));
}

TEST_F(ApiAbuseTest, ExpectContinueIsAnswered) {
  mote_ = MonitorProcess::with_api(folder_);
  ApiClient client(mote_->socket_path());
  ASSERT_TRUE(client.send(
      "PUT /machine-config HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 35\r\n\r\n"));
  EXPECT_EQ(client.receive().status, 100U);
  ASSERT_TRUE(client.send(R"({"vcpu_count":2,"mem_size_mib":128})"));
  EXPECT_EQ(client.receive().status, 204U);
}

}  // namespace
}  // namespace mote::integration
