#include "api-server/json_codec.h"

#include <gtest/gtest.h>

#include <boost/json.hpp>

#include "api-server/testing/whole_config.h"

namespace mote::api_server {
namespace {

namespace json = boost::json;
using namespace monitor;

std::string reason(std::string_view text) {
  const auto value = parse_json(text);
  EXPECT_FALSE(value) << text << " was accepted";
  return value ? "" : value.error().message();
}

TEST(ParseJson, KeepsEveryKindOfValue) {
  const std::string text =
      R"({"a":[1,-2,18446744073709551615,1.5,true,false,null,"\u00e9\n\"","",{}],"b":{"a":[]}})";
  const auto value = parse_json(" " + text + "\n");
  ASSERT_TRUE(value) << value.error().message();
  EXPECT_EQ(*value, json::parse(text));
}

TEST(ParseJson, RefusesAKeyThatComesTwiceInOneObject) {
  EXPECT_EQ(reason(R"({"a":1,"b":2,"a":1})"), "a: appears twice");
  EXPECT_EQ(reason(R"({"x":[{"deep":{"k":1,"\u006b":2}}]})"), "k: appears twice");
  EXPECT_EQ(reason(R"({"":1,"":1})"), ": appears twice");
  EXPECT_TRUE(parse_json(R"({"a":{"a":{"a":1}},"b":[{"a":1},{"a":1}]})"));
}

TEST(ParseJson, RefusesWhatIsNotOneDocument) {
  for (const std::string_view text :
       {"", " ", "{", "{}{}", "[1,]", "{\"a\":1,}", "{a:1}", "'a'", "nul", "1.", "01", "+1",
        "\"\\x\"", "\"\t\"", "// c\n{}", "[1 2]", "\xef\xbb\xbf{}", "\"\xff\"", "\"\\ud800\""}) {
    EXPECT_NE(reason(text).find("not valid JSON"), std::string::npos) << text;
  }
}

TEST(ParseJson, BoundsTheDepth) {
  const auto nested = [](size_t depth) {
    return std::string(depth, '[') + std::string(depth, ']');
  };
  EXPECT_TRUE(parse_json(nested(16)));
  EXPECT_FALSE(parse_json(nested(17)));
  EXPECT_FALSE(parse_json(nested(100'000)));
}

TEST(ParseJson, TakesManyKeysInLittleTime) {
  std::string text = "{";
  for (int i = 0; i < 20'000; ++i) text += "\"" + std::to_string(i) + "\":0,";
  EXPECT_TRUE(parse_json(text + "\"last\":0}"));
  EXPECT_EQ(reason(text + "\"777\":0}"), "777: appears twice");
}

template <typename T>
std::string fault(base::Result<T> (*decode)(const json::value&), std::string_view text) {
  const auto decoded = decode(json::parse(json::string_view(text.data(), text.size())));
  EXPECT_FALSE(decoded) << text << " was accepted";
  return decoded ? "" : decoded.error().message();
}

TEST(Decode, NullIsTheSameAsAbsent) {
  const auto drive = decode_drive(json::parse(
      R"({"drive_id":"a","is_root_device":false,"path_on_host":null,"partuuid":null,"is_read_only":null,
          "cache_type":null,"io_engine":null,"rate_limiter":null,"socket":null})"));
  ASSERT_TRUE(drive) << drive.error().message();
  virtio::blk::DriveConfig plain;
  plain.drive_id = "a";
  EXPECT_EQ(*drive, plain);
  const auto nic = decode_network_interface(json::parse(
      R"({"iface_id":"a","host_dev_name":"t","guest_mac":null,"mtu":null,"rx_rate_limiter":{},"tx_rate_limiter":null})"));
  ASSERT_TRUE(nic) << nic.error().message();
  EXPECT_EQ(nic->rx_rate_limiter, virtio::RateLimiterConfig{});
  EXPECT_FALSE(nic->tx_rate_limiter);
  EXPECT_EQ(fault(decode_boot_source, R"({"kernel_image_path":null})"),
            "kernel_image_path: is required");
  EXPECT_EQ(fault(decode_machine_config_patch, R"({"smt":null})"),
            "the request body: names no field to change");
}

TEST(Decode, MessagesSayWhereAndWhy) {
  const auto drive = [](const std::string& limiter) {
    return fault(decode_drive,
                 R"({"drive_id":"a","is_root_device":false,"rate_limiter":)" + limiter + "}");
  };
  EXPECT_EQ(drive(R"({"bandwidth":{"size":-1,"refill_time":1}})"),
            "rate_limiter.bandwidth.size: must be a whole number from 0 to 9223372036854775807");
  EXPECT_EQ(drive(R"({"ops":{"size":1}})"), "rate_limiter.ops.refill_time: is required");
  EXPECT_EQ(drive(R"({"ops":{"size":1,"refill_time":1,"burst":1}})"),
            "rate_limiter.ops.burst: is not a known field");
  EXPECT_EQ(drive(R"({"iops":{}})"), "rate_limiter.iops: is not a known field");
  EXPECT_EQ(drive("7"), "rate_limiter: must be a JSON object");
  EXPECT_EQ(fault(decode_serial, R"({"rate_limiter":{"size":1}})"),
            "rate_limiter.refill_time: is required");
  EXPECT_EQ(fault(decode_drive, R"({"drive_id":"a","is_root_device":false,"cache_type":"Fast"})"),
            "cache_type: \"Fast\" is not one of Unsafe, Writeback");
  EXPECT_EQ(fault(decode_drive, R"({"drive_id":"a","is_root_device":false,"socket":"/s"})"),
            "socket: vhost-user drives are not offered; name a file in path_on_host");
  EXPECT_EQ(fault(decode_logger, R"({"level":"Loud"})"),
            "level: \"Loud\" is not one of Off, Error, Warning, Info, Debug, Trace");
  EXPECT_EQ(fault(decode_boot_source, "[]"), "the request body: must be a JSON object");
  EXPECT_EQ(fault(decode_boot_source, R"({"kernel_image_path":"/a\u0000b"})"),
            "kernel_image_path: must not contain a NUL character");
}

TEST(Decode, CpuConfigErrorsNameTheIndex) {
  const auto cpu = [](std::string_view text) { return fault(decode_cpu_config, text); };
  EXPECT_EQ(cpu(R"({"kvm_capabilities":["1","x"]})"),
            "kvm_capabilities[1]: must be a string like \"12\" or \"!12\"");
  EXPECT_EQ(cpu(R"({"kvm_capabilities":[7]})"),
            "kvm_capabilities[0]: must be a string like \"12\" or \"!12\"");
  EXPECT_EQ(cpu(R"({"kvm_capabilities":["4294967296"]})"),
            "kvm_capabilities[0]: must be a string like \"12\" or \"!12\"");
  const std::string leaf = R"({"cpuid_modifiers":[{"leaf":"0x1","subleaf":"0x0","flags":0,)";
  EXPECT_EQ(cpu(leaf + R"("modifiers":[{"register":"eax","bitmap":"0b1"},{"register":"rax"}]}]})"),
            "cpuid_modifiers[0].modifiers[1].register: \"rax\" is not one of eax, ebx, ecx, edx");
  EXPECT_EQ(cpu(leaf + R"("modifiers":[{"register":"eax","bitmap":"0b2"}]}]})"),
            "cpuid_modifiers[0].modifiers[0].bitmap: \"0b2\" is not \"0b\" and 1 to 32 of 0, 1 "
            "and x");
  EXPECT_EQ(cpu(leaf + R"("x":[]}]})"), "cpuid_modifiers[0].x: is not a known field");
  EXPECT_EQ(cpu(R"({"cpuid_modifiers":[{"leaf":"1","subleaf":"0x0","flags":0,"modifiers":[]}]})"),
            "cpuid_modifiers[0].leaf: \"1\" is not a 32-bit number like 0x1f or 0b101");
  EXPECT_EQ(cpu(R"({"cpuid_modifiers":[{"leaf":"0x1","subleaf":"0x0","modifiers":[]}]})"),
            "cpuid_modifiers[0].flags: is required");
  EXPECT_EQ(cpu(R"({"msr_modifiers":[{"addr":"0x1ffffffff","bitmap":"0b1"}]})"),
            "msr_modifiers[0].addr: \"0x1ffffffff\" is not a 32-bit number like 0x1f or 0b101");
  EXPECT_EQ(cpu(R"({"msr_modifiers":[{"addr":"0x1"}]})"), "msr_modifiers[0].bitmap: is required");
  EXPECT_EQ(cpu(R"({"msr_modifiers":{}})"), "msr_modifiers: must be an array");
  EXPECT_EQ(cpu(R"({"reg_modifiers":[]})"), "reg_modifiers: is not a known field");
}

TEST(Decode, BitmapsMayLeaveOutPrefixAndHighBits) {
  const auto msr = [](const std::string& bitmap) {
    const auto cpu = decode_cpu_config(
        json::parse(R"({"msr_modifiers":[{"addr":"0x10a","bitmap":")" + bitmap + "\"}]}"));
    EXPECT_TRUE(cpu) << bitmap;
    return cpu ? cpu->msr_modifiers[0].bitmap : BitFilter{};
  };
  EXPECT_EQ(msr("0b1x0"), (BitFilter{0b101, 0b100}));
  EXPECT_EQ(msr("1x_0"), (BitFilter{0b101, 0b100}));
  EXPECT_EQ(msr("0b1" + std::string(63, 'x')), (BitFilter{1ULL << 63, 1ULL << 63}));
  EXPECT_FALSE(decode_cpu_config(json::parse(R"({"msr_modifiers":[{"addr":"0x1","bitmap":")" +
                                             std::string(65, '0') + "\"}]}")));
  EXPECT_FALSE(
      decode_cpu_config(json::parse(R"({"msr_modifiers":[{"addr":"0x1","bitmap":"0b_"}]})")));
}

TEST(Encode, RepliesHaveTheFieldsOfTheReference) {
  EXPECT_EQ(encode_reply(NoContent{}), "");
  EXPECT_EQ(
      encode_reply(InstanceInfo{"Firecracker", "id-1", VmState::kNotStarted, "0.1.0"}),
      R"({"app_name":"Firecracker","id":"id-1","state":"Not started","vmm_version":"0.1.0"})");
  EXPECT_EQ(encode_reply(VersionInfo{"1.14.2", "0.1.0"}),
            R"({"firecracker_version":"1.14.2","mote_version":"0.1.0"})");
  MachineConfig machine;
  EXPECT_EQ(encode_reply(machine), R"({"vcpu_count":1,"mem_size_mib":128,"smt":false,)"
                                   R"("track_dirty_pages":false,"huge_pages":"None"})");
  machine.cpu_template = CpuTemplate::kT2;
  EXPECT_NE(encode_reply(machine).find(R"("cpu_template":"T2")"), std::string::npos);
}

TEST(Encode, FaultsAreJsonWhateverTheyQuote) {
  const std::string message = "drive_id: \"a\\\n\x01\xc3\xa9\" is wrong";
  const auto value = parse_json(encode_fault(message));
  ASSERT_TRUE(value) << value.error().message();
  EXPECT_EQ(value->at("fault_message").as_string(), message);
}

TEST(Encode, AnEmptyConfigurationShowsWhatTheReferenceShows) {
  EXPECT_EQ(json::parse(encode_reply(VmConfig{})), json::parse(R"({
    "boot-source":{"kernel_image_path":"","initrd_path":null,"boot_args":null},
    "machine-config":{"vcpu_count":1,"mem_size_mib":128,"smt":false,"track_dirty_pages":false,
                      "huge_pages":"None"},
    "cpu-config":null,"drives":[],"network-interfaces":[],"logger":null,"metrics":null,
    "serial":null,"mmds-config":null,"balloon":null,"vsock":null,"entropy":null,"pmem":[],
    "memory-hotplug":null})"));
}

TEST(Encode, ShowsEveryFieldOfADriveAndAnInterface) {
  VmConfig config;
  config.drives.emplace_back().drive_id = "root";
  config.network_interfaces.emplace_back().iface_id = "eth0";
  const json::value shown = json::parse(encode_reply(config));
  EXPECT_EQ(shown.at("drives").at(0), json::parse(R"({
    "drive_id":"root","is_root_device":false,"path_on_host":null,"partuuid":null,
    "is_read_only":false,"cache_type":"Unsafe","io_engine":"Sync","rate_limiter":null,
    "socket":null})"));
  EXPECT_EQ(shown.at("network-interfaces").at(0), json::parse(R"({
    "iface_id":"eth0","host_dev_name":"","guest_mac":null,"mtu":null,"rx_rate_limiter":null,
    "tx_rate_limiter":null})"));
}

}  // namespace
}  // namespace mote::api_server
