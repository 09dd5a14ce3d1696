#pragma once
// Everything a snapshot's state file says: configuration, devices, vCPUs, and which memory file
// belongs to it. Pure.

#include <linux/kvm.h>

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "devices/legacy/i8042.h"
#include "devices/legacy/ioapic.h"
#include "devices/legacy/serial.h"
#include "devices/virtio/mmio_transport.h"
#include "memory/guest_memory.h"
#include "monitor/snapshot/format.h"
#include "monitor/snapshot/vcpu_state.h"
#include "monitor/vm_config.h"

namespace mote::monitor::snapshot {

/// Random; in both files of a snapshot, so that they are not mixed up.
using SnapshotId = std::array<uint8_t, 16>;

/// The VM's part, devices and vCPUs; configuration aside.
struct MachineState {
  kvm_clock_data clock{};
  legacy::IoApic::State ioapic;
  legacy::Serial::State serial;
  legacy::I8042::State i8042;
  std::vector<VcpuState> vcpus;
  std::vector<virtio::MmioTransport::State> transports;
};

enum class SnapshotType : uint8_t { kFull, kDiff };

struct Snapshot {
  SnapshotId id{};
  SnapshotType type = SnapshotType::kFull;
  /// kDiff: what the memory file holds; the rest of it is a hole.
  std::vector<memory::GuestMemory::Range> ranges;
  MachineConfig machine;
  std::optional<BootSource> boot_source;
  std::vector<virtio::blk::DriveConfig> drives;
  std::vector<virtio::net::NetworkInterfaceConfig> network_interfaces;
  std::optional<mmds::Config> mmds;  ///< Without the metadata and the tokens.
  MachineState state;
};

[[nodiscard]] std::vector<std::byte> encode_snapshot(const Snapshot& snapshot);
/// Errors name the section that is missing, unknown or does not make sense.
base::Result<Snapshot> decode_snapshot(std::span<const std::byte> file);

}  // namespace mote::monitor::snapshot
