// Google Benchmark: the steps every request of a guest or a client goes through, without the
// kernel's part.

#include <benchmark/benchmark.h>

#include <cstring>

#include "api-server/routes.h"
#include "devices/bus.h"
#include "devices/virtio/blk/request.h"
#include "devices/virtio/testing/driver_mock.h"
#include "http/parser.h"
#include "memory/layout.h"
#include "monitor/kvm_table.h"
#include "monitor/snapshot/snapshot.h"
#include "monitor/vm_exit.h"

namespace mote {
namespace {

using memory::Gpa;
using virtio::testing::Buffer;
using virtio::testing::DriverMock;

memory::GuestMemory make_memory() {
  return memory::GuestMemory::create(2 * memory::layout::kMib, memory::HugePages::kNone).value();
}

/// Pop a chain of three buffers, use it, decide about the interrupt.
void queue_round_trip(benchmark::State& state) {
  const auto memory = make_memory();
  DriverMock driver(memory, Gpa{0x1000}, 256);
  auto queue =
      virtio::Queue::create(memory, driver.layout(), {.event_idx = true, .indirect = true}).value();
  virtio::Chain chain;
  const std::array<Buffer, 3> buffers = {Buffer{Gpa{0x10000}, 16}, Buffer{Gpa{0x20000}, 4096, true},
                                         Buffer{Gpa{0x11000}, 1, true}};
  for (auto _ : state) {
    driver.add_chain(buffers);
    benchmark::DoNotOptimize(queue.pop(chain));
    queue.push_used(chain.head, 4097);
    benchmark::DoNotOptimize(queue.should_notify());
  }
}
BENCHMARK(queue_round_trip);

void block_request_parse(benchmark::State& state) {
  std::array<std::byte, 16> header{};
  std::array<std::byte, 4096> data{};
  std::byte status{};
  virtio::Chain chain;
  for (auto _ : state) {
    chain.clear();
    chain.readable.push_back({header.data(), header.size()});
    chain.readable_bytes = header.size();
    chain.writable.push_back({data.data(), data.size()});
    chain.writable.push_back({&status, 1});
    chain.writable_bytes = data.size() + 1;
    std::byte* place = nullptr;
    benchmark::DoNotOptimize(virtio::blk::parse_request(chain, {.sectors = 1024}, &place));
  }
}
BENCHMARK(block_request_parse);

/// From the bytes of a PUT /drives request to its Action.
void api_request(benchmark::State& state) {
  const std::string body =
      R"({"drive_id":"root","path_on_host":"/srv/root.ext4","is_root_device":true,"is_read_only":false})";
  const std::string text =
      "PUT /drives/root HTTP/1.1\r\nHost: localhost\r\nContent-Type: "
      "application/json\r\nContent-Length: " +
      std::to_string(body.size()) + "\r\n\r\n" + body;
  http::Parser parser(51200);
  for (auto _ : state) {
    std::string input = text;
    if (parser.advance(input) != http::ParseState::kComplete) state.SkipWithError("not parsed");
    const auto request = parser.take();
    benchmark::DoNotOptimize(
        api_server::route_request(request.method, request.target, request.body));
  }
}
BENCHMARK(api_request);

/// Decode an MMIO exit and find its device among as many as fit into a VM.
void exit_dispatch(benchmark::State& state) {
  struct Register final : devices::BusDevice {
    void read(uint64_t, std::span<std::byte> data) override { data[0] = std::byte{1}; }
    void write(uint64_t, std::span<const std::byte>) override {}
  };
  std::array<Register, memory::layout::kMaxVirtioDevices> registers;
  devices::Bus bus;
  for (size_t i = 0; i < registers.size(); ++i) {
    const uint64_t start =
        memory::layout::kVirtioMmioStart.offset(i * memory::layout::kVirtioMmioSize).value;
    if (!bus.insert(start, memory::layout::kVirtioMmioSize, registers[i]))
      state.SkipWithError("bus");
  }
  std::vector<uint64_t> page(3 * memory::layout::kPageSize / sizeof(uint64_t));
  auto& run = *reinterpret_cast<kvm_run*>(page.data());
  run.exit_reason = KVM_EXIT_MMIO;
  run.mmio.phys_addr =
      memory::layout::kVirtioMmioStart.offset(7 * memory::layout::kVirtioMmioSize + 0x60).value;
  run.mmio.len = 4;
  for (auto _ : state) {
    const auto exit = monitor::decode_exit(run, page.size() * sizeof(uint64_t));
    const auto& mmio = std::get<monitor::MmioExit>(exit);
    benchmark::DoNotOptimize(bus.read(mmio.address, mmio.data));
  }
}
BENCHMARK(exit_dispatch);

/// The state of a VM with two vCPUs and two devices, as large as real ones are.
monitor::snapshot::Snapshot make_snapshot() {
  monitor::snapshot::Snapshot snapshot;
  snapshot.machine.vcpu_count = 2;
  snapshot.drives.resize(1);
  snapshot.network_interfaces.resize(1);
  snapshot.state.vcpus.resize(2);
  for (auto& vcpu : snapshot.state.vcpus) {
    vcpu.xsave.resize(monitor::kXsaveBytes);
    vcpu.msrs.resize(100);
    vcpu.cpuid.resize(60);
  }
  snapshot.state.transports.resize(2);
  for (auto& transport : snapshot.state.transports) transport.queues.resize(2);
  return snapshot;
}

void snapshot_encode(benchmark::State& state) {
  const auto snapshot = make_snapshot();
  size_t bytes = 0;
  for (auto _ : state) {
    const auto file = monitor::snapshot::encode_snapshot(snapshot);
    bytes = file.size();
    benchmark::DoNotOptimize(file.data());
  }
  state.SetBytesProcessed(static_cast<int64_t>(bytes) * static_cast<int64_t>(state.iterations()));
}
BENCHMARK(snapshot_encode);

void snapshot_decode(benchmark::State& state) {
  const auto file = monitor::snapshot::encode_snapshot(make_snapshot());
  for (auto _ : state) {
    const auto snapshot = monitor::snapshot::decode_snapshot(file);
    if (!snapshot) return state.SkipWithError(snapshot.error().message().c_str());
    benchmark::DoNotOptimize(snapshot->id);
  }
  state.SetBytesProcessed(static_cast<int64_t>(file.size()) *
                          static_cast<int64_t>(state.iterations()));
}
BENCHMARK(snapshot_decode);

}  // namespace
}  // namespace mote

BENCHMARK_MAIN();
