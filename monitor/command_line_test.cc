#include "monitor/command_line.h"

#include <gtest/gtest.h>

namespace mote::monitor {
namespace {

VmConfig config_with(std::optional<std::string> boot_args) {
  VmConfig config;
  config.boot_source = BootSource{"/vmlinux", {}, std::move(boot_args)};
  return config;
}

void add_root(VmConfig& config, std::optional<std::string> partuuid, bool read_only) {
  virtio::blk::DriveConfig drive;
  drive.drive_id = "root";
  drive.is_root_device = true;
  drive.partuuid = std::move(partuuid);
  drive.is_read_only = read_only;
  config.drives.push_back(drive);
}

TEST(CommandLine, NamesTheRootDevice) {
  VmConfig config = config_with("console=ttyS0");
  add_root(config, {}, false);
  EXPECT_EQ(make_command_line(config, {}).value(), "console=ttyS0 pci=off root=/dev/vda rw");
  config.drives[0].partuuid = "0eaa91a0-01";
  config.drives[0].is_read_only = true;
  EXPECT_EQ(make_command_line(config, {}).value(),
            "console=ttyS0 pci=off root=PARTUUID=0eaa91a0-01 ro");
}

TEST(CommandLine, TheClientsOwnWordsWin) {
  VmConfig config = config_with("root=/dev/vdb pci=nommconf");
  add_root(config, {}, false);
  EXPECT_EQ(make_command_line(config, {}).value(), "root=/dev/vdb pci=nommconf");
}

TEST(CommandLine, ArgumentsOfInitStayLast) {
  VmConfig config = config_with("quiet -- --flag value");
  add_root(config, {}, false);
  EXPECT_EQ(make_command_line(config, {}).value(),
            "quiet pci=off root=/dev/vda rw -- --flag value");
  EXPECT_EQ(make_command_line(config_with("--"), {}).value(), "pci=off --");
}

TEST(CommandLine, DefaultsWhenAbsent) {
  const std::string line = make_command_line(config_with({}), {}).value();
  EXPECT_TRUE(line.starts_with("reboot=k panic=1")) << line;
}

TEST(CommandLine, NamesTheDevicesForKernelsWithoutAcpi) {
  const boot::VirtioMmioSlot slot{memory::Gpa{0xc0001000}, 0x1000, 5};
  EXPECT_EQ(make_command_line(config_with("quiet"), std::span(&slot, 1)).value(),
            "quiet pci=off virtio_mmio.device=4K@0xc0001000:5");
  EXPECT_EQ(
      make_command_line(config_with("virtio_mmio.device=4K@0x1:2"), std::span(&slot, 1)).value(),
      "virtio_mmio.device=4K@0x1:2 pci=off");
}

TEST(CommandLine, RefusesWhatDoesNotFitOrPrint) {
  const auto too_long = make_command_line(config_with(std::string(2041, 'x')), {});
  ASSERT_FALSE(too_long);
  EXPECT_NE(too_long.error().message().find("boot_args"), std::string::npos);
  EXPECT_TRUE(make_command_line(config_with(std::string(2039, 'x')), {}));
  EXPECT_FALSE(make_command_line(config_with("a\nb"), {}));
  EXPECT_FALSE(make_command_line(config_with(std::string("a\0b", 3)), {}));
}

}  // namespace
}  // namespace mote::monitor
