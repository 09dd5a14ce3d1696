#pragma once
// The whole configuration of a VM, as the API and the configuration file give it. Each object of
// the API is one struct, written once: here, or beside the device it configures.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/log.h"
#include "devices/mmds/config.h"
#include "devices/virtio/blk/config.h"
#include "devices/virtio/net/config.h"
#include "memory/guest_memory.h"

namespace mote::monitor {

/// Accepted static CPU templates (the reference's names); kNone is the host's CPUID.
enum class CpuTemplate : uint8_t { kNone, kC3, kT2, kT2S, kT2CL, kT2A };

/// /machine-config
struct MachineConfig {
  uint8_t vcpu_count = 1;       ///< 1..32.
  uint64_t mem_size_mib = 128;  ///< 1.. ; a multiple of 2 with 2M pages.
  bool smt = false;
  bool track_dirty_pages = false;
  memory::HugePages huge_pages = memory::HugePages::kNone;
  CpuTemplate cpu_template = CpuTemplate::kNone;
  bool operator==(const MachineConfig&) const = default;
};

/// PATCH /machine-config: only what is given changes.
struct MachineConfigPatch {
  std::optional<uint8_t> vcpu_count;
  std::optional<uint64_t> mem_size_mib;
  std::optional<bool> smt;
  std::optional<bool> track_dirty_pages;
  std::optional<memory::HugePages> huge_pages;
  std::optional<CpuTemplate> cpu_template;
};

/// /boot-source
struct BootSource {
  std::string kernel_image_path;
  std::optional<std::string> initrd_path;
  std::optional<std::string> boot_args;  ///< Absent: kDefaultBootArgs.
  bool operator==(const BootSource&) const = default;
};

inline constexpr const char* kDefaultBootArgs =
    "reboot=k panic=1 nomodule 8250.nr_uarts=0 i8042.noaux i8042.nomux i8042.dumbkbd "
    "swiotlb=noforce";

/// Bits of one register: those set in `mask` are replaced by those of `value` (the API's "0bx10x"
/// text).
struct BitFilter {
  uint64_t mask = 0;
  uint64_t value = 0;
  bool operator==(const BitFilter&) const = default;
};
enum class CpuidRegister : uint8_t { kEax, kEbx, kEcx, kEdx };
struct CpuidRegisterModifier {
  CpuidRegister reg = CpuidRegister::kEax;
  BitFilter bitmap;
  bool operator==(const CpuidRegisterModifier&) const = default;
};
struct CpuidLeafModifier {
  uint32_t leaf = 0;
  uint32_t subleaf = 0;
  uint32_t flags = 0;  ///< KVM_CPUID_FLAG_*.
  std::vector<CpuidRegisterModifier> modifiers;
  bool operator==(const CpuidLeafModifier&) const = default;
};
struct MsrModifier {
  uint32_t address = 0;
  BitFilter bitmap;
  bool operator==(const MsrModifier&) const = default;
};
/// KVM capability that must be present ("12") or is not checked ("!12").
struct KvmCapability {
  uint32_t number = 0;
  bool removed = false;
  bool operator==(const KvmCapability&) const = default;
};
/// /cpu-config
struct CpuConfig {
  std::vector<KvmCapability> kvm_capabilities;
  std::vector<CpuidLeafModifier> cpuid_modifiers;
  std::vector<MsrModifier> msr_modifiers;
  bool operator==(const CpuConfig&) const = default;
};

/// /logger: what is absent keeps its value.
struct LoggerConfig {
  std::optional<std::string> log_path;
  std::optional<base::log::Level> level;
  std::optional<bool> show_level;
  std::optional<bool> show_log_origin;
  std::optional<std::string> module;
};

/// /metrics
struct MetricsConfig {
  std::string metrics_path;
};

/// /serial: where the guest's console output goes; absent: standard output.
struct SerialConfig {
  std::optional<std::string> serial_out_path;
  std::optional<virtio::TokenBucketConfig> rate_limiter;  ///< Bytes; lines over it are dropped.
};

/// PUT /snapshot/create
struct SnapshotCreateConfig {
  std::string snapshot_path;
  std::string mem_file_path;
  bool diff = false;
};

/// Who provides guest memory after PUT /snapshot/load: the file itself, or a page-fault handler
/// that listens on a unix socket.
enum class MemoryBackend : uint8_t { kFile, kUffd };

/// PUT /snapshot/load
struct SnapshotLoadConfig {
  struct NetworkOverride {
    std::string iface_id;
    std::string host_dev_name;
  };
  struct DriveOverride {
    std::string drive_id;
    std::string path_on_host;
  };
  std::string snapshot_path;
  std::string memory_path;  ///< mem_backend.backend_path or mem_file_path.
  MemoryBackend backend = MemoryBackend::kFile;
  bool resume_vm = false;
  bool track_dirty_pages = false;
  bool clock_realtime = false;  ///< The guest's clock goes on as if it had run meanwhile.
  std::optional<memory::HugePages> huge_pages;
  std::optional<std::string> working_set_path;  ///< Pages to map in advance; with kFile.
  std::vector<NetworkOverride> network_overrides;
  std::vector<DriveOverride> drive_overrides;
};

/// PUT /snapshot/working-set
struct WorkingSetConfig {
  std::string working_set_path;
};

struct VmConfig {
  MachineConfig machine;
  std::optional<CpuConfig> cpu;
  std::optional<BootSource> boot_source;
  std::vector<virtio::blk::DriveConfig> drives;  ///< Root first, then in order of arrival.
  std::vector<virtio::net::NetworkInterfaceConfig> network_interfaces;
  std::optional<mmds::Config> mmds;
  std::optional<LoggerConfig> logger;
  std::optional<MetricsConfig> metrics;
  std::optional<SerialConfig> serial;
};

}  // namespace mote::monitor
