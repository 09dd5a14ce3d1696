// Snapshots of a running guest: what was saved goes on elsewhere, and nothing else does.

#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>
#include <thread>

#include "tests/integration/guest_test.h"

namespace mote::integration {
namespace {

using namespace std::chrono_literals;

constexpr size_t kMemoryBytes = 128 * size_t{1024} * 1024;

class SnapshotTest : public GuestTest {
 protected:
  [[nodiscard]] std::string create_body(const std::string& name, const std::string& more = {}) {
    return R"({"snapshot_path":")" + folder_.path(name + ".state") + R"(","mem_file_path":")" +
           folder_.path(name + ".memory") + "\"" + more + "}";
  }
  [[nodiscard]] std::string load_body(const std::string& state, const std::string& memory,
                                      const std::string& more = {}) {
    return R"({"snapshot_path":")" + folder_.path(state) +
           R"(","mem_backend":{"backend_type":"File","backend_path":")" + folder_.path(memory) +
           "\"}" + more + "}";
  }
  void run_template(const std::string& arguments, unsigned vcpus = 1) {
    ASSERT_NO_FATAL_FAILURE(prepare("clone", arguments, vcpus));
    ASSERT_NO_FATAL_FAILURE(start());
    ASSERT_TRUE(mote_->wait_for_console("ready\n!\n")) << mote_->log();
  }
  void pause() { ASSERT_TRUE(is_status(patch("Paused"), 204)); }
  [[nodiscard]] Response patch(const std::string& state) const {
    return mote_->request("PATCH", "/vm", R"({"state":")" + state + R"("})");
  }
  void create(const std::string& name, const std::string& more = {}) {
    ASSERT_TRUE(is_status(mote_->request("PUT", "/snapshot/create", create_body(name, more)), 204));
  }
  /// A template that was saved as `name` and is gone.
  void save_template(const std::string& arguments, const std::string& name = "base") {
    ASSERT_NO_FATAL_FAILURE(run_template(arguments));
    ASSERT_NO_FATAL_FAILURE(pause());
    ASSERT_NO_FATAL_FAILURE(create(name));
    mote_.reset();
  }
  void start_empty() { mote_ = MonitorProcess::with_api(folder_, {}); }
  [[nodiscard]] Response load(const std::string& body) const {
    return mote_->request("PUT", "/snapshot/load", body);
  }
};

TEST_F(SnapshotTest, ACloneGoesOnWhereItsTemplateWas) {
  ASSERT_NO_FATAL_FAILURE(save_template("touch=8"));
  struct stat status {};
  ASSERT_EQ(::stat(folder_.path("base.memory").c_str(), &status), 0);
  EXPECT_EQ(static_cast<size_t>(status.st_size), kMemoryBytes + 4096);
  EXPECT_LT(status.st_blocks * 512, 16 * 1024 * 1024) << "zero pages are holes";

  start_empty();
  ASSERT_TRUE(is_status(load(load_body("base.state", "base.memory")), 204));
  EXPECT_NE(mote_->request("GET", "/").body.find("Paused"), std::string::npos);
  std::this_thread::sleep_for(50ms);
  EXPECT_EQ(mote_->console(), "") << "a clone runs when it is resumed, not before";
  ASSERT_TRUE(is_status(patch("Resumed"), 204));
  ASSERT_TRUE(mote_->wait_for_console("!\n!\n!\n")) << mote_->log();
  EXPECT_EQ(mote_->console().find("FAILED"), std::string::npos) << mote_->console();
}

TEST_F(SnapshotTest, TheTemplateGoesOnToo) {
  ASSERT_NO_FATAL_FAILURE(run_template("touch=1 beats=400"));
  ASSERT_NO_FATAL_FAILURE(pause());
  ASSERT_NO_FATAL_FAILURE(create("base"));
  ASSERT_TRUE(is_status(patch("Resumed"), 204));
  ASSERT_NO_FATAL_FAILURE(expect_end());
  EXPECT_TRUE(mote_->console().ends_with("done\n"));
}

TEST_F(SnapshotTest, ManyClonesOfOneSnapshotRunAtOnce) {
  ASSERT_NO_FATAL_FAILURE(save_template("touch=4 interval=1000"));
  std::vector<std::unique_ptr<TemporaryFolder>> folders;
  std::vector<std::unique_ptr<MonitorProcess>> clones;
  for (int i = 0; i < 8; ++i) {
    folders.push_back(std::make_unique<TemporaryFolder>());
    clones.push_back(MonitorProcess::with_api(*folders.back()));
    ASSERT_TRUE(is_status(
        clones.back()->request("PUT", "/snapshot/load",
                               load_body("base.state", "base.memory", R"(,"resume_vm":true)")),
        204));
  }
  for (const auto& clone : clones) EXPECT_TRUE(clone->wait_for_console("!\n!\n")) << clone->log();
}

TEST_F(SnapshotTest, ADiskGoesAlongAndMayBeAnother) {
  const std::string disk = folder_.write("disk", disk_pattern(64));
  ASSERT_NO_FATAL_FAILURE(prepare("clone", "touch=1 disk=1"));
  ASSERT_TRUE(is_status(mote_->request("PUT", "/drives/d", drive_json("d", disk)), 204));
  ASSERT_NO_FATAL_FAILURE(start());
  ASSERT_TRUE(mote_->wait_for_console("ready\n!\n")) << mote_->log();
  ASSERT_NO_FATAL_FAILURE(pause());
  ASSERT_NO_FATAL_FAILURE(create("base"));
  mote_.reset();

  start_empty();
  ASSERT_TRUE(is_status(load(load_body("base.state", "base.memory", R"(,"resume_vm":true)")), 204));
  ASSERT_TRUE(mote_->wait_for_console("!\n!\n!\n")) << mote_->log();
  mote_.reset();

  std::filesystem::rename(disk, folder_.path("moved"));
  start_empty();
  const Response gone = load(load_body("base.state", "base.memory"));
  EXPECT_TRUE(is_status(gone, 400));
  EXPECT_NE(gone.body.find("path_on_host"), std::string::npos) << gone.body;
  const std::string other =
      R"(,"resume_vm":true,"drive_overrides":[{"drive_id":"d","path_on_host":")" +
      folder_.path("moved") + "\"}]";
  ASSERT_TRUE(is_status(load(load_body("base.state", "base.memory", other)), 204));
  ASSERT_TRUE(mote_->wait_for_console("!\n!\n!\n")) << mote_->log();
  EXPECT_EQ(mote_->console().find("FAILED"), std::string::npos);
}

TEST_F(SnapshotTest, ADiffMergedOntoItsBaseIsAWholeSnapshot) {
  ASSERT_NO_FATAL_FAILURE(prepare("clone", "touch=4"));
  ASSERT_TRUE(
      is_status(mote_->request("PATCH", "/machine-config", R"({"track_dirty_pages":true})"), 204));
  ASSERT_NO_FATAL_FAILURE(start());
  ASSERT_TRUE(mote_->wait_for_console("ready\n!\n")) << mote_->log();
  ASSERT_NO_FATAL_FAILURE(pause());
  ASSERT_NO_FATAL_FAILURE(create("base"));
  ASSERT_TRUE(is_status(patch("Resumed"), 204));
  std::this_thread::sleep_for(20ms);
  ASSERT_NO_FATAL_FAILURE(pause());
  ASSERT_NO_FATAL_FAILURE(create("diff", R"(,"snapshot_type":"Diff")"));
  mote_.reset();
  struct stat status {};
  ASSERT_EQ(::stat(folder_.path("diff.memory").c_str(), &status), 0);
  EXPECT_LT(status.st_blocks * 512, 1024 * 1024) << "only what changed";

  start_empty();
  EXPECT_NE(load(load_body("diff.state", "diff.memory")).body.find("merge it"), std::string::npos);
  EXPECT_NE(load(load_body("diff.state", "base.memory")).body.find("another"), std::string::npos);
  const std::string merge = std::string(MOTE_BINARY) + " --merge-snapshot " +
                            folder_.path("diff.state") + " " + folder_.path("diff.memory") + " " +
                            folder_.path("base.memory");
  ASSERT_EQ(std::system(merge.c_str()), 0);
  ASSERT_TRUE(is_status(load(load_body("diff.state", "base.memory", R"(,"resume_vm":true)")), 204));
  ASSERT_TRUE(mote_->wait_for_console("!\n!\n!\n")) << mote_->log();
  EXPECT_EQ(mote_->console().find("FAILED"), std::string::npos);
}

TEST_F(SnapshotTest, WhatIsDamagedForeignOrMixedUpIsRefusedAndAnotherTryWorks) {
  ASSERT_NO_FATAL_FAILURE(save_template("touch=1"));
  ASSERT_NO_FATAL_FAILURE(save_template("touch=2", "other"));
  const std::string state = read_file(folder_.path("base.state"));
  std::string footerless = read_file(folder_.path("base.memory"));
  footerless.resize(kMemoryBytes);
  folder_.write("footerless.memory", footerless);
  folder_.write("empty", "");
  folder_.write("text", "this is no snapshot, but it is long enough to be taken for one");
  folder_.write("cut.state", state.substr(0, state.size() / 2));
  folder_.write("long.state", state + "x");
  ASSERT_EQ(::mkfifo(folder_.path("fifo").c_str(), 0600), 0);

  start_empty();
  for (const auto& [state_file, memory_file] : {std::pair{"base.state", "other.memory"},
                                                {"other.state", "base.memory"},
                                                {"base.state", "footerless.memory"},
                                                {"base.state", "base.state"},
                                                {"base.state", "empty"},
                                                {"base.state", "fifo"},
                                                {"empty", "base.memory"},
                                                {"text", "base.memory"},
                                                {"cut.state", "base.memory"},
                                                {"long.state", "base.memory"},
                                                {"fifo", "base.memory"},
                                                {"absent", "base.memory"},
                                                {"base.state", "absent"},
                                                {"base.memory", "base.memory"}}) {
    const Response response = load(load_body(state_file, memory_file));
    EXPECT_TRUE(is_status(response, 400)) << state_file << " " << memory_file;
    EXPECT_TRUE(response.body.find("snapshot_path") != std::string::npos ||
                response.body.find("mem_backend") != std::string::npos)
        << response.body;
  }
  EXPECT_TRUE(
      is_status(load(load_body("base.state", "base.memory",
                               R"(,"network_overrides":[{"iface_id":"x","host_dev_name":"y"}])")),
                400));
  ASSERT_TRUE(is_status(load(load_body("base.state", "base.memory", R"(,"resume_vm":true)")), 204));
  EXPECT_TRUE(mote_->wait_for_console("!\n!\n")) << mote_->log();
}

TEST_F(SnapshotTest, EveryFlippedByteOfTheStateIsNoticed) {
  ASSERT_NO_FATAL_FAILURE(save_template("touch=1"));
  const std::string state = read_file(folder_.path("base.state"));
  start_empty();
  std::mt19937 random(1);
  for (size_t at = 0; at < state.size(); ++at) {
    std::string flipped = state;
    flipped[at] = static_cast<char>(flipped[at] ^ (1 << (random() % 8)));
    folder_.write("flipped.state", flipped);
    const Response response = load(load_body("flipped.state", "base.memory"));
    ASSERT_EQ(response.status, 400U) << "byte " << at << ": " << response.body;
  }
}

TEST_F(SnapshotTest, FlipsInTheMemoryFilesLastPageAreNoticedOrHarmless) {
  ASSERT_NO_FATAL_FAILURE(save_template("touch=1"));
  std::filesystem::copy_file(folder_.path("base.memory"), folder_.path("flipped.memory"));
  start_empty();
  std::mt19937 random(2);
  std::fstream file(folder_.path("flipped.memory"),
                    std::ios::binary | std::ios::in | std::ios::out);
  constexpr size_t kHeadBytes = 48;
  for (int i = 0; i < 1000; ++i) {
    const size_t at = kMemoryBytes + random() % kHeadBytes;
    file.seekg(static_cast<std::streamoff>(at));
    const auto byte = static_cast<char>(file.get());
    file.seekp(static_cast<std::streamoff>(at));
    file.put(static_cast<char>(byte ^ (1 << (random() % 8)))).flush();
    ASSERT_EQ(load(load_body("base.state", "flipped.memory")).status, 400U) << at;
    file.seekp(static_cast<std::streamoff>(at));
    file.put(byte).flush();
  }
}

/// Where two memory files differ, their last pages aside.
std::vector<size_t> differences(const std::string& a, const std::string& b) {
  std::vector<size_t> at;
  for (size_t i = 0; i < kMemoryBytes; ++i) {
    if (a[i] != b[i]) at.push_back(i);
  }
  return at;
}

TEST_F(SnapshotTest, AWorkingSetChangesWhenPagesAreMappedAndNothingElse) {
  ASSERT_NO_FATAL_FAILURE(save_template("touch=8 work=512"));
  start_empty();
  const std::string resume = R"(,"resume_vm":true)";
  ASSERT_TRUE(is_status(load(load_body("base.state", "base.memory", resume)), 204));
  ASSERT_TRUE(mote_->wait_for_console("!\n!\n!\n!\n!\n")) << mote_->log();
  const std::string set = folder_.path("pages");
  ASSERT_TRUE(is_status(
      mote_->request("PUT", "/snapshot/working-set", R"({"working_set_path":")" + set + "\"}"),
      204));
  mote_.reset();

  const std::string with_set = R"(,"working_set_path":")" + set + "\"";
  const auto saved_again = [&](const std::string& name, const std::string& more) {
    start_empty();
    ASSERT_TRUE(is_status(load(load_body("base.state", "base.memory", more)), 204));
    ASSERT_NO_FATAL_FAILURE(create(name));
  };
  ASSERT_NO_FATAL_FAILURE(saved_again("without", ""));
  ASSERT_NO_FATAL_FAILURE(saved_again("with", with_set));
  EXPECT_TRUE(mote_->wait_for_log("KiB mapped in advance"));
  EXPECT_EQ(mote_->log().find("working set: 0 KiB"), std::string::npos) << mote_->log();
  // Each load gives the guest another generation id, of 16 bytes; all else is the same.
  const std::string without = read_file(folder_.path("without.memory"));
  for (const auto& changed : {differences(without, read_file(folder_.path("with.memory"))),
                              differences(without, read_file(folder_.path("base.memory")))}) {
    ASSERT_FALSE(changed.empty());
    EXPECT_LT(changed.back() - changed.front(), 16U);
  }

  mote_.reset();
  start_empty();
  ASSERT_TRUE(is_status(load(load_body("base.state", "base.memory", with_set + resume)), 204));
  ASSERT_TRUE(mote_->wait_for_console("!\n!\n!\n!\n!\n")) << mote_->log();
  EXPECT_EQ(mote_->console().find("FAILED"), std::string::npos) << mote_->console();
}

TEST_F(SnapshotTest, AWorkingSetThatDoesNotFitIsRefused) {
  ASSERT_NO_FATAL_FAILURE(save_template("touch=1", "other"));
  ASSERT_NO_FATAL_FAILURE(save_template("touch=1"));
  const std::string record = R"({"working_set_path":")" + folder_.path("pages") + "\"}";
  ASSERT_NO_FATAL_FAILURE(run_template("touch=1"));
  const Response booted = mote_->request("PUT", "/snapshot/working-set", record);
  EXPECT_TRUE(is_status(booted, 400)) << "it has no snapshot to be a part of";
  start_empty();
  EXPECT_TRUE(is_status(mote_->request("PUT", "/snapshot/working-set", record), 400));
  ASSERT_TRUE(is_status(load(load_body("other.state", "other.memory")), 204));
  ASSERT_TRUE(is_status(mote_->request("PUT", "/snapshot/working-set", record), 204));
  mote_.reset();

  start_empty();
  folder_.write("text", "hello");
  for (const char* const file : {"pages", "text", "absent", "base.state"}) {
    const Response response = load(load_body(
        "base.state", "base.memory", R"(,"working_set_path":")" + folder_.path(file) + "\""));
    EXPECT_TRUE(is_status(response, 400)) << file;
    EXPECT_NE(response.body.find("working_set_path: "), std::string::npos) << response.body;
  }
  ASSERT_TRUE(is_status(load(load_body("base.state", "base.memory", R"(,"resume_vm":true)")), 204));
  EXPECT_TRUE(mote_->wait_for_console("!\n!\n")) << mote_->log();
}

TEST_F(SnapshotTest, OnlyAPausedVmIsSavedAndOnlyAnEmptyOneLoads) {
  ASSERT_NO_FATAL_FAILURE(run_template("touch=1"));
  const Response running = mote_->request("PUT", "/snapshot/create", create_body("base"));
  EXPECT_TRUE(is_status(running, 400));
  EXPECT_NE(running.body.find("paused"), std::string::npos) << running.body;
  EXPECT_TRUE(is_status(load(load_body("base.state", "base.memory")), 400));
  mote_.reset();
  start_empty();
  EXPECT_TRUE(is_status(mote_->request("PUT", "/snapshot/create", create_body("base")), 400));
  ASSERT_TRUE(is_status(
      mote_->request("PUT", "/boot-source", boot_source_json(guest_image("clone"), "")), 204));
  EXPECT_TRUE(is_status(load(load_body("base.state", "base.memory")), 400));
}

TEST_F(SnapshotTest, APlaceThatCannotBeWrittenLeavesNothingAndTheVmGoesOn) {
  ASSERT_NO_FATAL_FAILURE(run_template("touch=1"));
  ASSERT_NO_FATAL_FAILURE(pause());
  ASSERT_EQ(::mkfifo(folder_.path("pipe").c_str(), 0600), 0);
  for (const std::string& place : {std::string("/dev/full"), std::string("/dev/null"),
                                   folder_.path("absent/file"), folder_.path("pipe")}) {
    const Response response = mote_->request(
        "PUT", "/snapshot/create",
        R"({"snapshot_path":")" + folder_.path("s") + R"(","mem_file_path":")" + place + R"("})");
    EXPECT_TRUE(is_status(response, 400)) << place;
    EXPECT_NE(response.body.find("mem_file_path"), std::string::npos) << response.body;
  }
  EXPECT_FALSE(std::filesystem::exists(folder_.path("s")));
  ASSERT_NO_FATAL_FAILURE(create("base"));
  ASSERT_TRUE(is_status(patch("Resumed"), 204));
}

/// How often the process is killed: 20 times of each kind, or as the environment says.
int kill_rounds() {
  const char* const given = std::getenv("MOTE_KILL_ROUNDS");
  return given == nullptr ? 20 : std::atoi(given);
}

/// Until it is there, for a second at most.
void wait_for_file(const std::string& path) {
  for (int i = 0; i < 20'000 && !std::filesystem::exists(path); ++i)
    std::this_thread::sleep_for(50us);
}

/// The page of a memory file that names its snapshot.
std::string last_page(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  file.seekg(kMemoryBytes);
  return {std::istreambuf_iterator<char>(file), {}};
}

TEST_F(SnapshotTest, AKillDuringCreateLosesNothing) {
  ASSERT_NO_FATAL_FAILURE(save_template("touch=1", "old"));
  const auto put_old_pair = [&] {
    for (const char* const part : {".state", ".memory"}) {
      std::filesystem::copy_file(folder_.path("old") + part, folder_.path("kill") + part,
                                 std::filesystem::copy_options::overwrite_existing);
    }
  };
  ASSERT_NO_FATAL_FAILURE(run_template("touch=8"));
  ASSERT_NO_FATAL_FAILURE(pause());
  put_old_pair();
  const auto start = std::chrono::steady_clock::now();
  ASSERT_NO_FATAL_FAILURE(create("kill"));
  const auto took_us = std::chrono::duration_cast<std::chrono::microseconds>(
      std::chrono::steady_clock::now() - start);
  const auto span_us = static_cast<uint32_t>(took_us.count() * 3 / 2);

  std::mt19937 random(3);
  int old_pairs = 0;
  int half_way = 0;
  int new_pairs = 0;
  for (int round = 0; round < kill_rounds(); ++round) {
    ASSERT_NO_FATAL_FAILURE(run_template("touch=8"));
    ASSERT_NO_FATAL_FAILURE(pause());
    put_old_pair();
    std::filesystem::remove(folder_.path("kill.state.next"));
    std::thread killer([&, wait_us = round == 0 ? 0 : random() % span_us, round] {
      if (round % 2 == 0) {
        std::this_thread::sleep_for(std::chrono::microseconds(wait_us));
      } else {  // While the two files are put into place.
        wait_for_file(folder_.path("kill.state.next"));
      }
      ::kill(mote_->pid(), SIGKILL);
    });
    (void)mote_->request("PUT", "/snapshot/create", create_body("kill"));
    killer.join();
    mote_.reset();
    const bool old_state =
        read_file(folder_.path("kill.state")) == read_file(folder_.path("old.state"));
    const bool old_memory =
        last_page(folder_.path("kill.memory")) == last_page(folder_.path("old.memory"));
    ++(!old_state ? new_pairs : old_memory ? old_pairs : half_way);
    start_empty();
    const Response response = load(load_body("kill.state", "kill.memory", R"(,"resume_vm":true)"));
    ASSERT_TRUE(is_status(response, 204)) << "neither the old pair nor the new one";
    EXPECT_TRUE(mote_->wait_for_console("!\n!\n")) << mote_->log();
    mote_.reset();
  }
  std::printf("%d kills within %u us: the old pair %d times, half-way %d, the new pair %d times\n",
              kill_rounds(), span_us, old_pairs, half_way, new_pairs);
  EXPECT_GT(old_pairs, 0) << "no kill came early";
  EXPECT_GT(half_way + new_pairs, 0) << "no kill came late";
}

TEST_F(SnapshotTest, AKillDuringLoadHarmsNoFile) {
  ASSERT_NO_FATAL_FAILURE(save_template("touch=8 work=512"));
  start_empty();
  ASSERT_TRUE(is_status(load(load_body("base.state", "base.memory", R"(,"resume_vm":true)")), 204));
  ASSERT_TRUE(mote_->wait_for_console("!\n!\n")) << mote_->log();
  ASSERT_TRUE(is_status(mote_->request("PUT", "/snapshot/working-set",
                                       R"({"working_set_path":")" + folder_.path("pages") + "\"}"),
                        204));
  mote_.reset();
  const std::array<const char*, 3> names = {"base.state", "base.memory", "pages"};
  std::vector<std::string> before;
  for (const char* const name : names) before.push_back(read_file(folder_.path(name)));
  const std::string body =
      load_body("base.state", "base.memory",
                R"(,"resume_vm":true,"working_set_path":")" + folder_.path("pages") + "\"");
  std::mt19937 random(4);
  int answered = 0;
  for (int round = 0; round < kill_rounds(); ++round) {
    start_empty();
    std::thread killer([&, wait_us = random() % 3'000] {
      std::this_thread::sleep_for(std::chrono::microseconds(wait_us));
      ::kill(mote_->pid(), SIGKILL);
    });
    answered += load(body).status == 204 ? 1 : 0;
    killer.join();
    mote_.reset();
  }
  std::printf("%d kills, %d of them behind the answer\n", kill_rounds(), answered);
  EXPECT_LT(answered, kill_rounds()) << "no kill came early";
  for (size_t i = 0; i < names.size(); ++i) {
    EXPECT_TRUE(read_file(folder_.path(names[i])) == before[i]) << names[i];
  }
  start_empty();
  ASSERT_TRUE(is_status(load(body), 204));
  EXPECT_TRUE(mote_->wait_for_console("!\n!\n!\n!\n!\n")) << mote_->log();
  EXPECT_EQ(mote_->console().find("FAILED"), std::string::npos) << mote_->console();
}

}  // namespace
}  // namespace mote::integration
