// io_bench: a guest that polls loads virtio-blk and virtio-net through the whole monitor, beside
// what the same host gives a program that does the same without a guest: fio with io_uring on the
// same file, plain reads and writes on the same kind of TAP. Rounds are interleaved. Needs root.

#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <boost/json.hpp>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <thread>

#include "base/clock.h"
#include "bench/figures.h"
#include "bench/monitor_adapter.h"
#include "devices/virtio/net/tap.h"
#include "devices/virtio/net/testing/tap_host.h"

namespace mote::bench {
namespace {

namespace net = virtio::net;
using net::testing::PacketSocket;

constexpr char kTap[] = "mote0";
constexpr uint64_t kDiskMib = 64;

struct Options {
  std::string mote;
  std::string guest;
  std::string json;
  std::string folder;
  int rounds = 5;
  double seconds = 1;  ///< About this long for each measurement.
};

[[noreturn]] void give_up(const std::string& reason) {
  std::fprintf(stderr, "io_bench: %s\n", reason.c_str());
  std::exit(1);
}

template <typename T>
T need(base::Result<T> result) {
  if (!result) give_up(result.error().message());
  return std::move(*result);
}

/// Reads the guest's console line by line; gives the time at which a line came.
class Console final {
 public:
  explicit Console(const Process& process) : fd_(process.output.get()) {}

  uint64_t wait_for(const std::string& wanted) {
    for (;;) {
      const size_t end = text_.find('\n');
      if (end == std::string::npos) {
        char more[512];
        const ssize_t got = ::read(fd_, more, sizeof(more));
        if (got <= 0) give_up("the guest ended before \"" + wanted + "\": " + text_);
        text_.append(more, static_cast<size_t>(got));
        continue;
      }
      std::string line = text_.substr(0, end);
      text_.erase(0, end + 1);
      if (line.ends_with('\r')) line.pop_back();
      if (line == wanted) return base::monotonic_ns();
      if (line.starts_with("FAILED")) give_up("guest: " + line);
    }
  }

 private:
  int fd_;
  std::string text_;
};

class Bench final {
 public:
  Bench(Options options, Figures& figures) : options_(std::move(options)), figures_(figures) {}

  void measure_disk() {
    const std::string disk = options_.folder + "/disk";
    {
      std::ofstream file(disk, std::ios::binary);
      const std::string mebibyte(1 << 20, 'm');
      for (uint64_t i = 0; i < kDiskMib; ++i) file << mebibyte;
    }
    for (const char* const operation : {"read", "write"}) {
      for (const int depth : {1, 32}) {
        const std::string metric = "blk." + std::string(operation) + ".qd" + std::to_string(depth);
        const std::string args =
            "dev=blk bytes=4096 op=" + std::string(operation) + " depth=" + std::to_string(depth);
        Series guest{"mote", metric, "IOPS", {}};
        Series host{"host", metric, "IOPS", {}};
        double rate = 20'000;  // A guess; each round corrects it.
        for (int round = 0; round < options_.rounds; ++round) {
          rate = run_guest(args, rate, disk_config(disk), [] {});
          guest.values.push_back(rate);
          host.values.push_back(fio(disk, operation, depth));
        }
        figures_.add(guest);
        figures_.add(host);
      }
    }
  }

  void measure_network() {
    if (const auto made = net::testing::create_persistent_tap(kTap, net::testing::Queues::kSingle);
        !made) {
      give_up(made.error().message());
    }
    for (const int bytes : {64, 1514}) {
      const std::string size = std::to_string(bytes);
      measure_transmit(size, bytes);
      measure_receive(size, bytes);
    }
  }

 private:
  /// Starts the guest for about `seconds` at the rate expected; gives the rate it had.
  template <typename WhenReady>
  double run_guest(const std::string& args, double expected_rate, const std::string& devices,
                   WhenReady when_ready, bool waits_for_ready = false) {
    const auto count = static_cast<uint64_t>(std::max(64.0, expected_rate * options_.seconds));
    const std::string config = options_.folder + "/io.json";
    std::ofstream(config) << R"({"boot-source":{"kernel_image_path":")" << options_.guest
                          << R"(","boot_args":")" << args << " count=" << count
                          << R"("},"machine-config":{"vcpu_count":1,"mem_size_mib":128},)"
                          << devices << "}";
    const Process process = need(spawn({options_.mote, "--no-api", "--config-file", config}));
    Console console(process);
    if (waits_for_ready) {
      console.wait_for("ready");
      when_ready();
    }
    const uint64_t begin_ns = console.wait_for("begin");
    const uint64_t end_ns = console.wait_for("end");
    int status = 0;
    ::waitpid(process.pid, &status, 0);
    if (status != 0) give_up("mote ended with status " + std::to_string(status));
    return static_cast<double>(count) / (static_cast<double>(end_ns - begin_ns) / 1e9);
  }

  static std::string disk_config(const std::string& disk) {
    return R"("drives":[{"drive_id":"d","is_root_device":false,"path_on_host":")" + disk + R"("}])";
  }
  static std::string net_config() {
    return R"("network-interfaces":[{"iface_id":"n","host_dev_name":")" + std::string(kTap) +
           R"("}])";
  }

  double fio(const std::string& disk, const std::string& operation, int depth) {
    const std::string out = options_.folder + "/fio.json";
    const std::string command =
        "fio --name=raw --filename=" + disk + " --ioengine=io_uring --bs=4k --rw=rand" + operation +
        " --iodepth=" + std::to_string(depth) + " --size=" + std::to_string(kDiskMib) +
        "m --time_based --norandommap --runtime=" +
        std::to_string(std::max(1, static_cast<int>(options_.seconds))) +
        " --output-format=json --output=" + out + " >/dev/null 2>&1";
    if (std::system(command.c_str()) != 0) give_up("fio failed: " + command);
    std::ifstream file(out);
    const std::string text((std::istreambuf_iterator<char>(file)), {});
    boost::system::error_code error;
    const auto document = boost::json::parse(text.substr(text.find('{')), error);
    if (error) give_up("fio's answer is no JSON");
    return document.at("jobs").at(0).at(operation).at("iops").to_number<double>();
  }

  void measure_transmit(const std::string& size, int bytes) {
    Series guest{"mote", "net.tx." + size, "packets/s", {}};
    Series host{"host", "net.tx." + size, "packets/s", {}};
    double rate = 50'000;
    for (int round = 0; round < options_.rounds; ++round) {
      if (const auto up = net::testing::set_up(kTap, true); !up) give_up(up.error().message());
      rate = run_guest("dev=tx depth=32 bytes=" + size, rate, net_config(), [] {});
      guest.values.push_back(rate);
      host.values.push_back(plain_writes(bytes));
    }
    figures_.add(guest);
    figures_.add(host);
  }

  /// One write() a frame, vnet header included, as a program without a ring would do.
  [[nodiscard]] double plain_writes(int bytes) const {
    const auto tap = need(net::Tap::open(kTap, 1));
    std::vector<std::byte> packet(sizeof(net::virtio_net_hdr_v1) + static_cast<size_t>(bytes));
    std::memset(packet.data() + sizeof(net::virtio_net_hdr_v1), 0xff, 6);
    packet[sizeof(net::virtio_net_hdr_v1) + 12] = std::byte{0x88};
    packet[sizeof(net::virtio_net_hdr_v1) + 13] = std::byte{0xb5};
    uint64_t count = 0;
    const uint64_t start_ns = base::monotonic_ns();
    while (elapsed_s(start_ns) < options_.seconds) {
      for (int i = 0; i < 100; ++i) count += ::write(tap.fd(0), packet.data(), packet.size()) > 0;
    }
    return static_cast<double>(count) / elapsed_s(start_ns);
  }

  void measure_receive(const std::string& size, int bytes) {
    Series guest{"mote", "net.rx." + size, "packets/s", {}};
    Series host{"host", "net.rx." + size, "packets/s", {}};
    double rate = 50'000;
    for (int round = 0; round < options_.rounds; ++round) {
      std::jthread sender;
      rate = run_guest(
          "dev=rx bytes=" + size, rate, net_config(), [&] { sender = start_sender(bytes); }, true);
      sender = {};
      guest.values.push_back(rate);
      host.values.push_back(plain_reads(bytes));
    }
    figures_.add(guest);
    figures_.add(host);
  }

  /// Sends through the network stack to the interface, as fast as it goes.
  static std::jthread start_sender(int bytes) {
    if (const auto up = net::testing::set_up(kTap, true); !up) give_up(up.error().message());
    return std::jthread([bytes](const std::stop_token& stop) {
      const auto socket = need(PacketSocket::open(kTap, 0));
      std::vector<std::byte> frame(static_cast<size_t>(bytes), std::byte{0xff});
      frame[12] = std::byte{0x88};
      frame[13] = std::byte{0xb5};
      while (!stop.stop_requested()) (void)socket.send(frame);
    });
  }

  [[nodiscard]] double plain_reads(int bytes) const {
    const auto tap = need(net::Tap::open(kTap, 1));
    const std::jthread sender = start_sender(bytes);
    std::vector<std::byte> packet(65536);
    uint64_t count = 0;
    pollfd ready{tap.fd(0), POLLIN, 0};
    const uint64_t start_ns = base::monotonic_ns();
    while (elapsed_s(start_ns) < options_.seconds) {
      if (::read(tap.fd(0), packet.data(), packet.size()) > 0) {
        ++count;
      } else {
        ::poll(&ready, 1, 10);
      }
    }
    return static_cast<double>(count) / elapsed_s(start_ns);
  }

  static double elapsed_s(uint64_t start_ns) {
    return static_cast<double>(base::monotonic_ns() - start_ns) / 1e9;
  }

  Options options_;
  Figures& figures_;
};

}  // namespace
}  // namespace mote::bench

int main(int argc, char** argv) {
  using namespace mote;
  bench::Options options;
  CLI::App app("Measures virtio-blk and virtio-net through mote beside the host's own limit");
  app.add_option("--mote", options.mote, "The monitor")->required()->check(CLI::ExistingFile);
  app.add_option("--guest", options.guest, "tests/guests/bench_io.elf")
      ->required()
      ->check(CLI::ExistingFile);
  app.add_option("--json", options.json, "File to which figures are added");
  app.add_option("--rounds", options.rounds)->check(CLI::Range(1, 1000))->capture_default_str();
  app.add_option("--seconds", options.seconds, "Of each measurement")
      ->check(CLI::Range(0.05, 60.0))
      ->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  if (const auto entered = virtio::net::testing::enter_network_namespace(); !entered) {
    bench::give_up(entered.error().message());
  }
  std::string folder = (std::filesystem::temp_directory_path() / "mote-bench-XXXXXX").string();
  if (::mkdtemp(folder.data()) == nullptr) bench::give_up("no temporary folder");
  options.folder = folder;
  bench::Figures figures(options.json);
  bench::Bench bench(options, figures);
  bench.measure_disk();
  bench.measure_network();
  std::filesystem::remove_all(folder);
  return 0;
}
