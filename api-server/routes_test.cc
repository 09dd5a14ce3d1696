#include "api-server/routes.h"

#include <gtest/gtest.h>

#include <boost/json.hpp>

#include "api-server/json_codec.h"

namespace mote::api_server {
namespace {

using namespace monitor;

template <typename T>
T accepted(std::string_view method, std::string_view target, std::string_view body = "") {
  auto routed = route_request(method, target, body);
  if (auto* const refusal = std::get_if<RequestRefusal>(&routed)) {
    ADD_FAILURE() << method << " " << target << ": " << refusal->message;
    return {};
  }
  auto& action = std::get<Action>(routed);
  EXPECT_TRUE(std::holds_alternative<T>(action)) << method << " " << target;
  return std::holds_alternative<T>(action) ? std::get<T>(action) : T{};
}

std::string refused(std::string_view method, std::string_view target, std::string_view body,
                    unsigned status = 400) {
  const auto routed = route_request(method, target, body);
  const auto* const refusal = std::get_if<RequestRefusal>(&routed);
  EXPECT_NE(refusal, nullptr) << method << " " << target << " " << body << " was accepted";
  if (refusal == nullptr) return {};
  EXPECT_EQ(refusal->status, status);
  return refusal->message;
}

TEST(Routes, ReadsNeedNoBody) {
  accepted<GetInstanceInfo>("GET", "/");
  accepted<GetVersion>("GET", "/version");
  accepted<GetVmConfig>("GET", "/vm/config");
  accepted<GetMachineConfig>("GET", "/machine-config?x=1");
  refused("GET", "/", "{}");
}

TEST(Routes, MachineConfigTakesDefaultsAndEveryField) {
  const auto plain = accepted<PutMachineConfig>("PUT", "/machine-config",
                                                R"({"vcpu_count":2,"mem_size_mib":256})");
  EXPECT_EQ(plain.config.vcpu_count, 2);
  EXPECT_FALSE(plain.config.smt);
  const auto full = accepted<PutMachineConfig>(
      "PUT", "/machine-config",
      R"({"vcpu_count":4,"mem_size_mib":256,"smt":true,"track_dirty_pages":true,"huge_pages":"2M","cpu_template":null})");
  EXPECT_EQ(full.config.huge_pages, memory::HugePages::k2M);
  EXPECT_TRUE(full.config.track_dirty_pages);
  const auto patch =
      accepted<PatchMachineConfig>("PATCH", "/machine-config", R"({"mem_size_mib":512})");
  EXPECT_EQ(patch.patch.mem_size_mib, 512U);
  EXPECT_FALSE(patch.patch.vcpu_count);
}

TEST(Routes, DrivesCarryLimitersAndTheirIdTwice) {
  const auto drive = accepted<PutDrive>(
      "PUT", "/drives/root",
      R"({"drive_id":"root","is_root_device":true,"path_on_host":"/d","is_read_only":true,"cache_type":"Writeback",
          "io_engine":"Async","partuuid":"ab-01",
          "rate_limiter":{"bandwidth":{"size":1000,"one_time_burst":5,"refill_time":100},"ops":null}})");
  EXPECT_EQ(drive.config.cache_type, virtio::blk::CacheType::kWriteback);
  EXPECT_EQ(drive.config.rate_limiter->bandwidth->one_time_burst, 5U);
  EXPECT_FALSE(drive.config.rate_limiter->ops);
  EXPECT_NE(refused("PUT", "/drives/other", R"({"drive_id":"root","is_root_device":true})")
                .find("drive_id"),
            std::string::npos);
  EXPECT_NE(
      refused("PUT", "/drives/a-b", R"({"drive_id":"a-b","is_root_device":true})").find("drive_id"),
      std::string::npos);
  for (const std::string_view path : {"/drives", "/drives/", "/network-interfaces"}) {
    EXPECT_NE(refused("PUT", path, R"({"drive_id":"","is_root_device":true})").find("{id}"),
              std::string::npos);
  }
  accepted<PatchDrive>("PATCH", "/drives/root", R"({"drive_id":"root","path_on_host":"/e"})");
}

TEST(Routes, NetworkInterfacesCheckMacAndMtu) {
  const auto nic = accepted<PutNetworkInterface>(
      "PUT", "/network-interfaces/eth0",
      R"({"iface_id":"eth0","host_dev_name":"tap0","guest_mac":"06:00:AC:10:00:02","mtu":1400})");
  EXPECT_EQ(nic.config.guest_mac->octets[2], 0xac);
  for (const std::string_view mac :
       {"06:00:ac:10:00", "06-00-ac-10-00-02", "06:00:ac:10:00:0g", "06:00:ac:10:00:021"}) {
    const std::string body =
        R"({"iface_id":"e","host_dev_name":"t","guest_mac":")" + std::string(mac) + "\"}";
    EXPECT_NE(refused("PUT", "/network-interfaces/e", body).find("guest_mac"), std::string::npos);
  }
  EXPECT_NE(
      refused("PUT", "/network-interfaces/e", R"({"iface_id":"e","host_dev_name":"t","mtu":67})")
          .find("mtu"),
      std::string::npos);
}

TEST(Routes, ActionsAndStates) {
  accepted<InstanceStart>("PUT", "/actions", R"({"action_type":"InstanceStart"})");
  accepted<FlushMetrics>("PUT", "/actions", R"({"action_type":"FlushMetrics"})");
  accepted<SendCtrlAltDel>("PUT", "/actions", R"({"action_type":"SendCtrlAltDel"})");
  accepted<PauseVm>("PATCH", "/vm", R"({"state":"Paused"})");
  accepted<ResumeVm>("PATCH", "/vm", R"({"state":"Resumed"})");
  const std::string message = refused("PUT", "/actions", R"({"action_type":"Explode"})");
  EXPECT_NE(message.find("InstanceStart, FlushMetrics, SendCtrlAltDel"), std::string::npos)
      << message;
}

TEST(Routes, CpuConfigReadsBitmaps) {
  const auto cpu = accepted<PutCpuConfig>("PUT", "/cpu-config", R"({"kvm_capabilities":["12","!56"],
      "cpuid_modifiers":[{"leaf":"0x1","subleaf":"0x0","flags":0,"modifiers":[{"register":"ecx","bitmap":"0b1x0"}]}],
      "msr_modifiers":[{"addr":"0x10a","bitmap":"0b0000_1111"}]})");
  EXPECT_TRUE(cpu.config.kvm_capabilities[1].removed);
  EXPECT_EQ(cpu.config.cpuid_modifiers[0].modifiers[0].bitmap, (BitFilter{0b101, 0b100}));
  EXPECT_EQ(cpu.config.msr_modifiers[0].bitmap, (BitFilter{0xff, 0x0f}));
  for (
      const std::string_view body :
      {R"({"reg_modifiers":[]})", R"({"kvm_capabilities":[12]})", R"({"kvm_capabilities":["x"]})",
       R"({"msr_modifiers":[{"addr":"0x1","bitmap":"0b2"}]})",
       R"({"msr_modifiers":[{"addr":"0x1ffffffff","bitmap":"0b1"}]})",
       R"({"cpuid_modifiers":[{"leaf":"0x1"}]})",
       R"({"cpuid_modifiers":[{"leaf":"0x1","subleaf":"0x0","modifiers":[{"register":"rax","bitmap":"0b1"}]}]})"}) {
    refused("PUT", "/cpu-config", body);
  }
  VmConfig config;
  config.cpu = cpu.config;
  const std::string text = encode_reply(config);
  EXPECT_NE(text.find("0bxxxxxxxxxxxxxxxxxxxxxxxxxxxxx1x0"), std::string::npos) << text;
}

TEST(Routes, EveryWrongFieldIsNamed) {
  struct Case {
    std::string_view body;
    std::string_view field;
  };
  for (const Case& c :
       {Case{R"({"mem_size_mib":256})", "vcpu_count"}, Case{R"({"vcpu_count":2})", "mem_size_mib"},
        Case{R"({"vcpu_count":0,"mem_size_mib":1})", "vcpu_count"},
        Case{R"({"vcpu_count":33,"mem_size_mib":1})", "vcpu_count"},
        Case{R"({"vcpu_count":-1,"mem_size_mib":1})", "vcpu_count"},
        Case{R"({"vcpu_count":1.5,"mem_size_mib":1})", "vcpu_count"},
        Case{R"({"vcpu_count":"1","mem_size_mib":1})", "vcpu_count"},
        Case{R"({"vcpu_count":1,"mem_size_mib":0})", "mem_size_mib"},
        Case{R"({"vcpu_count":1,"mem_size_mib":99999999999999999999})", "mem_size_mib"},
        Case{R"({"vcpu_count":1,"mem_size_mib":1,"smt":1})", "smt"},
        Case{R"({"vcpu_count":1,"mem_size_mib":1,"huge_pages":"1G"})", "huge_pages"},
        Case{R"({"vcpu_count":1,"mem_size_mib":1,"colour":"red"})", "colour"}}) {
    EXPECT_NE(refused("PUT", "/machine-config", c.body).find(c.field), std::string::npos) << c.body;
  }
  EXPECT_NE(refused("PUT", "/boot-source", R"({"kernel_image_path":"/a\u0000b"})")
                .find("kernel_image_path"),
            std::string::npos);
  EXPECT_NE(refused("PUT", "/drives/a",
                    R"({"drive_id":"a","is_root_device":true,"rate_limiter":{"ops":{"size":1}}})")
                .find("rate_limiter.ops.refill_time"),
            std::string::npos);
  refused("PATCH", "/machine-config", "{}");
}

TEST(Routes, BodiesThatAreNoObjectsAreRefused) {
  const std::string deep = std::string(10000, '[') + std::string(10000, ']');
  for (const std::string& body :
       {std::string(), std::string("null"), std::string("[]"), std::string("{"), deep,
        std::string("{} {}"), std::string("\xff\xfe")}) {
    EXPECT_FALSE(refused("PUT", "/machine-config", body).empty());
  }
}

TEST(Routes, RefusalsSpellUnprintableMethodsAsText) {
  for (const std::string_view path : {"/drives", "/nothing"}) {
    const std::string message = refused("PATCH\xff\x01", path, "{}", path == "/drives" ? 400 : 404);
    EXPECT_NE(message.find("PATCH??"), std::string::npos) << message;
  }
}

TEST(Routes, UnknownPathsWrongVerbsAndAbsentDevices) {
  refused("GET", "/nothing", "", 404);
  refused("PUT", "/drives/a/b", "{}", 404);
  EXPECT_NE(refused("DELETE", "/machine-config", "").find("DELETE /machine-config"),
            std::string::npos);
  for (const std::string_view path :
       {"/vsock", "/balloon", "/balloon/statistics", "/entropy", "/pmem/p0", "/hotplug/memory"}) {
    EXPECT_NE(refused("PUT", path, "{}").find("only virtio-net and virtio-blk"), std::string::npos)
        << path;
  }
}

TEST(Routes, MetadataIsAnyObject) {
  const auto put = route_request("PUT", "/mmds", R"({"a":{"b":[1,null]}})");
  const auto* const action = std::get_if<Action>(&put);
  ASSERT_NE(action, nullptr);
  const auto& content = std::get<monitor::PutMmds>(*action).content;
  EXPECT_EQ(boost::json::serialize(content), R"({"a":{"b":[1,null]}})");
  EXPECT_NE(refused("PUT", "/mmds", "[1]").find("must be a JSON object"), std::string::npos);
  EXPECT_NE(refused("PATCH", "/mmds", "").find("needs a body"), std::string::npos);
}

TEST(Routes, TheMetadataAddressIsLinkLocal) {
  for (const char* const address :
       {"10.0.0.1", "169.254.0.1", "169.254.255.1", "169.254.1", "", "169.254.1.1.1", "x"}) {
    const std::string body =
        R"({"network_interfaces":["eth0"],"ipv4_address":")" + std::string(address) + "\"}";
    EXPECT_TRUE(refused("PUT", "/mmds/config", body).starts_with("ipv4_address: ")) << address;
  }
  EXPECT_TRUE(refused("PUT", "/mmds/config", R"({"network_interfaces":[1]})")
                  .starts_with("network_interfaces: "));
}

}  // namespace
}  // namespace mote::api_server
