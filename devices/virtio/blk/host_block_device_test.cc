// Drives on a block device of the host: a loop device with logical blocks of 4 KiB, where the
// machine lets us make one.

#include <fcntl.h>
#include <linux/loop.h>
#include <sys/ioctl.h>

#include <cstring>

#include "devices/virtio/blk/device_fixture.h"

namespace mote::virtio::blk {
namespace {

constexpr uint64_t kDiskBytes = 1024 * 1024;

struct LoopDevice {
  base::UniqueFd fd;  ///< The device goes away with its last user.
  std::string path;
};

/// Somebody else may take the number that was free: kIo with EBUSY, so try again.
base::Result<LoopDevice> try_to_make_loop_device(int control, int backing) {
  const int number = ::ioctl(control, LOOP_CTL_GET_FREE);
  if (number < 0) return base::fail_errno(errno, "a free loop device");
  LoopDevice device{{}, "/dev/loop" + std::to_string(number)};
  device.fd.reset(::open(device.path.c_str(), O_RDWR | O_CLOEXEC));
  if (!device.fd.valid()) return base::fail_errno(errno, device.path);
  loop_config config{};
  config.fd = static_cast<uint32_t>(backing);
  config.block_size = 4096;
  config.info.lo_flags = LO_FLAGS_AUTOCLEAR;
  if (::ioctl(device.fd.get(), LOOP_CONFIGURE, &config) != 0)
    return base::fail_errno(errno, device.path);
  return device;
}

base::Result<LoopDevice> make_loop_device(const std::string& file) {
  const base::UniqueFd control(::open("/dev/loop-control", O_RDWR | O_CLOEXEC));
  if (!control.valid()) return base::fail_errno(errno, "/dev/loop-control");
  const base::UniqueFd backing(::open(file.c_str(), O_RDWR | O_CLOEXEC));
  auto device = try_to_make_loop_device(control.get(), backing.get());
  for (int attempt = 0; attempt < 20 && !device && device.error().os_errno == EBUSY; ++attempt)
    device = try_to_make_loop_device(control.get(), backing.get());
  return device;
}

class HostBlockDeviceTest : public BlockDeviceTest {
 protected:
  void SetUp() override {
    BlockDeviceTest::SetUp();
    make_file(path_, kDiskBytes);
    auto made = make_loop_device(path_);
    if (!made) GTEST_SKIP() << "no loop device: " << made.error().message();
    loop_device_ = std::move(*made);
    config_.path_on_host = loop_device_.path;
  }
  void TearDown() override {
    BlockDeviceTest::TearDown();
    // The device first, then its file.
    transport_.reset();
    device_.reset();
  }
  uint8_t range_request(uint32_t type, virtio_blk_discard_write_zeroes range) {
    const Gpa segment{0x30000};
    EXPECT_TRUE(memory_.store(segment, range));
    return request(type, 0, {{segment, sizeof(range)}});
  }
  LoopDevice loop_device_;
};

TEST_F(HostBlockDeviceTest, ShowsItsSizeAndMovesData) {
  start();
  EXPECT_EQ(RegisterDriver(*transport_).read(VIRTIO_MMIO_CONFIG), kDiskBytes / 512);
  EXPECT_EQ(request(VIRTIO_BLK_T_IN, 2047, {{kData, 512, true}}), VIRTIO_BLK_S_OK);
  EXPECT_EQ(guest_text(kData, 1)[0], static_cast<char>('a' + 2047 % 26));
  // One sector, though the host's blocks have eight.
  EXPECT_EQ(request(VIRTIO_BLK_T_OUT, 3, {{kData, 512}}), VIRTIO_BLK_S_OK);
  EXPECT_EQ(request(VIRTIO_BLK_T_FLUSH, 0, {}), VIRTIO_BLK_S_OK);
  EXPECT_EQ(file_text(3 * 512, 1)[0], static_cast<char>('a' + 2047 % 26));
  EXPECT_EQ(file_text(4 * 512, 1), "e");
}

TEST_F(HostBlockDeviceTest, ZerosAndDiscardsOfWholeAndPartialBlocks) {
  start();
  EXPECT_EQ(range_request(VIRTIO_BLK_T_WRITE_ZEROES, {8, 16, 0}), VIRTIO_BLK_S_OK);
  // No multiple of the logical block: fallocate(2) refuses, so plain zeros are written.
  EXPECT_EQ(range_request(VIRTIO_BLK_T_WRITE_ZEROES, {33, 2, 0}), VIRTIO_BLK_S_OK);
  EXPECT_EQ(range_request(VIRTIO_BLK_T_DISCARD, {64, 8, 0}), VIRTIO_BLK_S_OK);
  EXPECT_EQ(range_request(VIRTIO_BLK_T_DISCARD, {81, 1, 0}), VIRTIO_BLK_S_OK);
  EXPECT_EQ(request(VIRTIO_BLK_T_FLUSH, 0, {}), VIRTIO_BLK_S_OK);
  EXPECT_EQ(file_text(8 * 512, 16 * 512), std::string(16 * 512, '\0'));
  EXPECT_EQ(file_text(33 * 512, 2 * 512), std::string(2 * 512, '\0'));
  EXPECT_EQ(file_text(32 * 512, 1)[0], static_cast<char>('a' + 32 % 26));
  EXPECT_EQ(file_text(35 * 512, 1)[0], static_cast<char>('a' + 35 % 26));
  EXPECT_EQ(device_->metrics().execute_fails, 0U);
}

}  // namespace
}  // namespace mote::virtio::blk
