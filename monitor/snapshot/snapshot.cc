#include "monitor/snapshot/snapshot.h"

#include <fmt/format.h>

#include <algorithm>

#include "memory/layout.h"
#include "monitor/kvm_table.h"
#include "monitor/snapshot/bytes.h"

namespace mote::monitor::snapshot {
namespace {

enum SectionId : uint32_t {
  kMemory = 1,
  kConfig = 2,
  kMachine = 3,
  kVcpus = 4,
  kDevices = 5,
  kMmds = 6
};

struct SectionKind {
  SectionId id;
  const char* name;
  uint16_t version;
  bool optional;  ///< It may be missing, and other builds may pass over it.
  std::vector<std::byte> (*encode)(const Snapshot&);
  /// False when the payload is not what encode() writes.
  bool (*decode)(ByteReader&, Snapshot&);
};

// Configuration.

void put_bucket(ByteWriter& out, const std::optional<virtio::TokenBucketConfig>& bucket) {
  out.put(static_cast<uint8_t>(bucket.has_value()));
  if (!bucket) return;
  out.put(bucket->size);
  out.put(bucket->refill_time_ms);
  out.put_optional(bucket->one_time_burst);
}

std::optional<virtio::TokenBucketConfig> get_bucket(ByteReader& in) {
  if (!in.get_flag()) return std::nullopt;
  virtio::TokenBucketConfig bucket;
  bucket.size = in.get<uint64_t>();
  bucket.refill_time_ms = in.get<uint64_t>();
  bucket.one_time_burst = in.get_optional<uint64_t>();
  return bucket;
}

void put_limiter(ByteWriter& out, const std::optional<virtio::RateLimiterConfig>& limiter) {
  out.put(static_cast<uint8_t>(limiter.has_value()));
  if (!limiter) return;
  put_bucket(out, limiter->bandwidth);
  put_bucket(out, limiter->ops);
}

std::optional<virtio::RateLimiterConfig> get_limiter(ByteReader& in) {
  if (!in.get_flag()) return std::nullopt;
  virtio::RateLimiterConfig limiter;
  limiter.bandwidth = get_bucket(in);
  limiter.ops = get_bucket(in);
  return limiter;
}

void put_drive(ByteWriter& out, const virtio::blk::DriveConfig& drive) {
  out.put_text(drive.drive_id);
  out.put(static_cast<uint8_t>(drive.is_root_device));
  out.put_optional_text(drive.path_on_host);
  out.put_optional_text(drive.partuuid);
  out.put(static_cast<uint8_t>(drive.is_read_only));
  out.put(drive.cache_type);
  out.put(drive.io_engine);
  put_limiter(out, drive.rate_limiter);
}

virtio::blk::DriveConfig get_drive(ByteReader& in) {
  virtio::blk::DriveConfig drive;
  drive.drive_id = in.get_text();
  drive.is_root_device = in.get_flag();
  drive.path_on_host = in.get_optional_text();
  drive.partuuid = in.get_optional_text();
  drive.is_read_only = in.get_flag();
  drive.cache_type = in.get_word(virtio::blk::CacheType::kWriteback);
  drive.io_engine = in.get_word(virtio::blk::IoEngine::kAsync);
  drive.rate_limiter = get_limiter(in);
  return drive;
}

void put_interface(ByteWriter& out, const virtio::net::NetworkInterfaceConfig& nic) {
  out.put_text(nic.iface_id);
  out.put_text(nic.host_dev_name);
  out.put_optional(nic.guest_mac);
  out.put_optional(nic.mtu);
  put_limiter(out, nic.rx_rate_limiter);
  put_limiter(out, nic.tx_rate_limiter);
}

virtio::net::NetworkInterfaceConfig get_interface(ByteReader& in) {
  virtio::net::NetworkInterfaceConfig nic;
  nic.iface_id = in.get_text();
  nic.host_dev_name = in.get_text();
  nic.guest_mac = in.get_optional<virtio::net::MacAddress>();
  nic.mtu = in.get_optional<uint16_t>();
  nic.rx_rate_limiter = get_limiter(in);
  nic.tx_rate_limiter = get_limiter(in);
  return nic;
}

std::vector<std::byte> encode_config(const Snapshot& snapshot) {
  ByteWriter out;
  const MachineConfig& machine = snapshot.machine;
  out.put(machine.vcpu_count);
  out.put(machine.mem_size_mib);
  out.put(static_cast<uint8_t>(machine.smt));
  out.put(static_cast<uint8_t>(machine.track_dirty_pages));
  out.put(machine.huge_pages);
  out.put(static_cast<uint8_t>(snapshot.boot_source.has_value()));
  if (snapshot.boot_source) {
    out.put_text(snapshot.boot_source->kernel_image_path);
    out.put_optional_text(snapshot.boot_source->initrd_path);
    out.put_optional_text(snapshot.boot_source->boot_args);
  }
  out.put(static_cast<uint64_t>(snapshot.drives.size()));
  for (const auto& drive : snapshot.drives) put_drive(out, drive);
  out.put(static_cast<uint64_t>(snapshot.network_interfaces.size()));
  for (const auto& nic : snapshot.network_interfaces) put_interface(out, nic);
  return out.take();
}

bool decode_config(ByteReader& in, Snapshot& snapshot) {
  MachineConfig& machine = snapshot.machine;
  machine.vcpu_count = in.get<uint8_t>();
  machine.mem_size_mib = in.get<uint64_t>();
  machine.smt = in.get_flag();
  machine.track_dirty_pages = in.get_flag();
  machine.huge_pages = in.get_word(memory::HugePages::k2M);
  if (in.get_flag()) {
    BootSource source;
    source.kernel_image_path = in.get_text();
    source.initrd_path = in.get_optional_text();
    source.boot_args = in.get_optional_text();
    snapshot.boot_source = std::move(source);
  }
  const auto drives = in.get<uint64_t>();
  for (uint64_t i = 0; i < drives && in.ok(); ++i) snapshot.drives.push_back(get_drive(in));
  const auto nics = in.get<uint64_t>();
  for (uint64_t i = 0; i < nics && in.ok(); ++i) {
    snapshot.network_interfaces.push_back(get_interface(in));
  }
  return in.complete() && machine.vcpu_count >= 1 &&
         machine.vcpu_count <= memory::layout::kMaxVcpus && machine.mem_size_mib >= 1 &&
         machine.mem_size_mib <= (uint64_t{1} << 46) / memory::layout::kMib;
}

// Memory.

std::vector<std::byte> encode_memory(const Snapshot& snapshot) {
  ByteWriter out;
  out.put(snapshot.id);
  out.put(snapshot.type);
  out.put_list(snapshot.ranges);
  return out.take();
}

bool decode_memory(ByteReader& in, Snapshot& snapshot) {
  snapshot.id = in.get<SnapshotId>();
  snapshot.type = in.get_word(SnapshotType::kDiff);
  snapshot.ranges = in.get_list<memory::GuestMemory::Range>();
  return in.complete();
}

// The machine.

std::vector<std::byte> encode_machine(const Snapshot& snapshot) {
  ByteWriter out;
  const MachineState& state = snapshot.state;
  out.put(state.clock);
  out.put(state.ioapic.redirection);
  out.put(state.ioapic.selected);
  out.put(state.ioapic.id);
  out.put_list(state.serial.input);
  out.put(state.serial.interrupt_enable);
  out.put(state.serial.line_control);
  out.put(state.serial.modem_control);
  out.put(state.serial.scratch);
  out.put(state.serial.fifo_control);
  out.put(state.serial.divisor);
  out.put(static_cast<uint8_t>(state.serial.transmitter_empty_pending));
  out.put_list(state.i8042.output);
  out.put(state.i8042.command_byte);
  out.put(state.i8042.output_port);
  out.put(state.i8042.pending_command);
  return out.take();
}

bool decode_machine(ByteReader& in, Snapshot& snapshot) {
  MachineState& state = snapshot.state;
  state.clock = in.get<kvm_clock_data>();
  state.ioapic.redirection = in.get<decltype(state.ioapic.redirection)>();
  state.ioapic.selected = in.get<uint8_t>();
  state.ioapic.id = in.get<uint8_t>();
  state.serial.input = in.get_list<uint8_t>();
  state.serial.interrupt_enable = in.get<uint8_t>();
  state.serial.line_control = in.get<uint8_t>();
  state.serial.modem_control = in.get<uint8_t>();
  state.serial.scratch = in.get<uint8_t>();
  state.serial.fifo_control = in.get<uint8_t>();
  state.serial.divisor = in.get<uint16_t>();
  state.serial.transmitter_empty_pending = in.get_flag();
  state.i8042.output = in.get_list<uint8_t>();
  state.i8042.command_byte = in.get<uint8_t>();
  state.i8042.output_port = in.get<uint8_t>();
  state.i8042.pending_command = in.get<uint8_t>();
  return in.complete();
}

std::vector<std::byte> encode_vcpus(const Snapshot& snapshot) {
  ByteWriter out;
  out.put(static_cast<uint64_t>(snapshot.state.vcpus.size()));
  for (const VcpuState& vcpu : snapshot.state.vcpus) {
    out.put(vcpu.mp_state);
    out.put(vcpu.regs);
    out.put(vcpu.sregs);
    out.put(vcpu.xcrs);
    out.put(vcpu.debugregs);
    out.put(vcpu.lapic);
    out.put(vcpu.events);
    out.put(vcpu.tsc_khz);
    out.put_list(vcpu.xsave);
    out.put_list(vcpu.msrs);
    out.put_list(vcpu.cpuid);
  }
  return out.take();
}

bool decode_vcpus(ByteReader& in, Snapshot& snapshot) {
  const auto count = in.get<uint64_t>();
  for (uint64_t i = 0; i < count && in.ok(); ++i) {
    VcpuState vcpu;
    vcpu.mp_state = in.get<kvm_mp_state>();
    vcpu.regs = in.get<kvm_regs>();
    vcpu.sregs = in.get<kvm_sregs>();
    vcpu.xcrs = in.get<kvm_xcrs>();
    vcpu.debugregs = in.get<kvm_debugregs>();
    vcpu.lapic = in.get<kvm_lapic_state>();
    vcpu.events = in.get<kvm_vcpu_events>();
    vcpu.tsc_khz = in.get<uint32_t>();
    vcpu.xsave = in.get_list<std::byte>();
    vcpu.msrs = in.get_list<kvm_msr_entry>();
    vcpu.cpuid = in.get_list<kvm_cpuid_entry2>();
    // The kernel reads this much whatever we hand it.
    if (vcpu.xsave.size() < kXsaveBytes) in.fail();
    snapshot.state.vcpus.push_back(std::move(vcpu));
  }
  return in.complete();
}

std::vector<std::byte> encode_devices(const Snapshot& snapshot) {
  ByteWriter out;
  out.put(static_cast<uint64_t>(snapshot.state.transports.size()));
  for (const auto& transport : snapshot.state.transports) {
    out.put(transport.device_id);
    out.put(transport.status);
    out.put(transport.interrupt_status);
    out.put(transport.device_features_select);
    out.put(transport.driver_features_select);
    out.put(transport.driver_features);
    out.put(transport.queue_select);
    out.put(transport.config_generation);
    out.put(transport.active_pairs);
    out.put(static_cast<uint64_t>(transport.queues.size()));
    for (const auto& queue : transport.queues) {
      out.put(queue.size);
      out.put(static_cast<uint8_t>(queue.ready));
      out.put(queue.descriptor_table);
      out.put(queue.avail_ring);
      out.put(queue.used_ring);
      out.put(queue.position);
    }
    out.put_list(transport.config);
  }
  return out.take();
}

bool decode_devices(ByteReader& in, Snapshot& snapshot) {
  const auto count = in.get<uint64_t>();
  for (uint64_t i = 0; i < count && in.ok(); ++i) {
    virtio::MmioTransport::State transport;
    transport.device_id = in.get<uint32_t>();
    transport.status = in.get<uint32_t>();
    transport.interrupt_status = in.get<uint32_t>();
    transport.device_features_select = in.get<uint32_t>();
    transport.driver_features_select = in.get<uint32_t>();
    transport.driver_features = in.get<uint64_t>();
    transport.queue_select = in.get<uint32_t>();
    transport.config_generation = in.get<uint32_t>();
    transport.active_pairs = in.get<uint16_t>();
    const auto queues = in.get<uint64_t>();
    for (uint64_t q = 0; q < queues && in.ok(); ++q) {
      virtio::MmioTransport::QueueState queue;
      queue.size = in.get<uint32_t>();
      queue.ready = in.get_flag();
      queue.descriptor_table = in.get<uint64_t>();
      queue.avail_ring = in.get<uint64_t>();
      queue.used_ring = in.get<uint64_t>();
      queue.position = in.get<virtio::QueuePosition>();
      transport.queues.push_back(queue);
    }
    transport.config = in.get_list<std::byte>();
    snapshot.state.transports.push_back(std::move(transport));
  }
  return in.complete();
}

// Guest metadata: how to reach it.

std::vector<std::byte> encode_mmds(const Snapshot& snapshot) {
  ByteWriter out;
  if (!snapshot.mmds) return out.take();
  out.put(snapshot.mmds->version);
  out.put(snapshot.mmds->ipv4_address);
  out.put(static_cast<uint8_t>(snapshot.mmds->imds_compat));
  out.put(static_cast<uint64_t>(snapshot.mmds->network_interfaces.size()));
  for (const std::string& id : snapshot.mmds->network_interfaces) out.put_text(id);
  return out.take();
}

bool decode_mmds(ByteReader& in, Snapshot& snapshot) {
  mmds::Config config;
  config.version = in.get_word(mmds::Version::kV2);
  config.ipv4_address = in.get<mmds::Ipv4>();
  config.imds_compat = in.get_flag();
  const auto ids = in.get<uint64_t>();
  for (uint64_t i = 0; i < ids && in.ok(); ++i) config.network_interfaces.push_back(in.get_text());
  const bool whole = in.complete() && mmds::is_link_local(config.ipv4_address);
  snapshot.mmds = std::move(config);
  return whole;
}

constexpr std::array kSections = {
    SectionKind{kMemory, "memory", 1, false, encode_memory, decode_memory},
    SectionKind{kConfig, "config", 1, false, encode_config, decode_config},
    SectionKind{kMachine, "machine", 1, false, encode_machine, decode_machine},
    SectionKind{kVcpus, "vcpus", 1, false, encode_vcpus, decode_vcpus},
    SectionKind{kDevices, "devices", 1, false, encode_devices, decode_devices},
    SectionKind{kMmds, "mmds", 1, true, encode_mmds, decode_mmds},
};

base::Result<> check(const Snapshot& snapshot) {
  const size_t devices = snapshot.drives.size() + snapshot.network_interfaces.size();
  if (snapshot.state.vcpus.size() == snapshot.machine.vcpu_count &&
      snapshot.state.transports.size() == devices) {
    return {};
  }
  return base::fail(base::ErrorCode::kInvalidArgument,
                    "the snapshot's state does not fit its configuration");
}

}  // namespace

std::vector<std::byte> encode_snapshot(const Snapshot& snapshot) {
  Container container;
  for (const SectionKind& kind : kSections) {
    auto payload = kind.encode(snapshot);
    if (kind.optional && payload.empty()) continue;
    container.sections.push_back({kind.id, kind.version, kind.optional, std::move(payload)});
  }
  return encode_container(container);
}

base::Result<Snapshot> decode_snapshot(std::span<const std::byte> file) {
  MOTE_TRY(const auto container, decode_container(file));
  Snapshot snapshot;
  uint32_t seen = 0;
  for (const Section& section : container.sections) {
    const auto kind = std::ranges::find(kSections, section.id,
                                        [](const SectionKind& k) -> uint32_t { return k.id; });
    const bool known = kind != kSections.end() && section.version == kind->version;
    if (!known && section.optional) continue;
    if (!known) {
      return base::fail(base::ErrorCode::kUnsupported,
                        fmt::format("section {} version {} is not known to this build", section.id,
                                    section.version));
    }
    ByteReader reader(section.payload);
    const bool repeated = (seen & 1U << section.id) != 0;
    if (repeated || !kind->decode(reader, snapshot)) {
      return base::fail(base::ErrorCode::kInvalidArgument,
                        fmt::format("section \"{}\" does not make sense", kind->name));
    }
    seen |= 1U << section.id;
  }
  for (const SectionKind& kind : kSections) {
    if (kind.optional || (seen & 1U << kind.id) != 0) continue;
    return base::fail(base::ErrorCode::kInvalidArgument,
                      fmt::format("section \"{}\" is missing", kind.name));
  }
  MOTE_TRY_VOID(check(snapshot));
  return snapshot;
}

}  // namespace mote::monitor::snapshot
