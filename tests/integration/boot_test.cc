// From start to end of a VM: every way to configure, to begin and to shut down.

#include <csignal>
#include <regex>
#include <thread>

#include "tests/integration/guest_test.h"

namespace mote::integration {
namespace {

using namespace std::chrono_literals;

class BootTest : public GuestTest {};

TEST_F(BootTest, BootsFromAConfigurationFile) {
  EXPECT_EQ(run_to_end("hello", "say=xyzzy"), (Ending{0, 0})) << mote_->log();
  EXPECT_EQ(mote_->console(), "hello from a tiny guest\nxyzzy\n");
}

TEST_F(BootTest, BootsThroughTheApi) {
  ASSERT_NO_FATAL_FAILURE(prepare("hello", "say=api"));
  EXPECT_NE(mote_->request("GET", "/").body.find(R"("state":"Not started")"), std::string::npos);
  ASSERT_NO_FATAL_FAILURE(start());
  ASSERT_NO_FATAL_FAILURE(expect_end());
  EXPECT_EQ(mote_->console(), "hello from a tiny guest\napi\n");
}

TEST_F(BootTest, ServesTheApiBesideAConfigurationFile) {
  const std::string config = folder_.write("config.json", config_json("spin", ""));
  mote_ = MonitorProcess::with_api(folder_, {"--config-file", config});
  ASSERT_TRUE(mote_->wait_for_console("running"));
  const Response info = mote_->request("GET", "/");
  ASSERT_TRUE(is_status(info, 200));
  EXPECT_NE(info.body.find(R"("state":"Running")"), std::string::npos) << info.body;
}

TEST_F(BootTest, EveryGuestShutdownIsACleanEnd) {
  for (const std::string how : {"reset", "acpi_off", "acpi_reset", "triple_fault"}) {
    EXPECT_EQ(run_to_end("shutdown", "how=" + how), (Ending{0, 0})) << how << mote_->log();
    EXPECT_EQ(mote_->console(), "ending by " + how + "\n");
  }
}

TEST_F(BootTest, BootTimerIsLoggedOnceForPageAndPort) {
  const std::regex line("Guest-boot-time = *[0-9]+ us [0-9]+ ms, *[0-9]+ CPU us [0-9]+ CPU ms");
  for (const std::string way : {"mmio", "port"}) {
    EXPECT_EQ(run_to_end("boot_timer", "way=" + way), (Ending{0, 0}));
    const std::string log = mote_->log();
    const auto count = std::distance(std::sregex_iterator(log.begin(), log.end(), line), {});
    EXPECT_EQ(count, 1) << way << ": " << log;
  }
}

TEST_F(BootTest, WakesEveryProcessor) {
  ASSERT_NO_FATAL_FAILURE(prepare("smp", "cpus=8", 8));
  ASSERT_NO_FATAL_FAILURE(start());
  ASSERT_NO_FATAL_FAILURE(expect_end());
  EXPECT_EQ(mote_->console(), "8 processors\n");
}

TEST_F(BootTest, UnclaimedPortsAndAddressesReadAllOnes) {
  EXPECT_EQ(run_to_end("exits", "count=2000 seed=7"), (Ending{0, 0})) << mote_->log();
  EXPECT_EQ(mote_->console(), "a string of bytes by one instruction\nexits done\n");
}

TEST_F(BootTest, SigtermEndsARunningVmCleanly) {
  for (const int signal : {SIGTERM, SIGINT}) {
    ASSERT_NO_FATAL_FAILURE(prepare("spin", ""));
    ASSERT_NO_FATAL_FAILURE(start());
    ASSERT_TRUE(mote_->wait_for_console("running"));
    mote_->signal(signal);
    ASSERT_NO_FATAL_FAILURE(expect_end());
  }
}

TEST_F(BootTest, SigtermEndsASleepingAndAPausedVm) {
  ASSERT_NO_FATAL_FAILURE(prepare("spin", "sleep=1"));
  ASSERT_NO_FATAL_FAILURE(start());
  ASSERT_TRUE(mote_->wait_for_console("running"));
  ASSERT_TRUE(is_status(mote_->request("PATCH", "/vm", R"({"state":"Paused"})"), 204));
  mote_->signal(SIGTERM);
  ASSERT_NO_FATAL_FAILURE(expect_end());
}

TEST_F(BootTest, APausedGuestStandsStillAndGoesOnWhenResumed) {
  ASSERT_NO_FATAL_FAILURE(prepare("spin", "tick=5", 2));
  ASSERT_NO_FATAL_FAILURE(start());
  ASSERT_TRUE(mote_->wait_for_console(".\n"));
  for (int round = 0; round < 20; ++round) {
    ASSERT_TRUE(is_status(mote_->request("PATCH", "/vm", R"({"state":"Paused"})"), 204));
    EXPECT_NE(mote_->request("GET", "/").body.find(R"("state":"Paused")"), std::string::npos);
    const size_t before = mote_->console().size();
    std::this_thread::sleep_for(30ms);
    EXPECT_EQ(mote_->console().size(), before) << "the guest runs while it is paused";
    ASSERT_TRUE(is_status(mote_->request("PATCH", "/vm", R"({"state":"Resumed"})"), 204));
    EXPECT_NE(mote_->request("GET", "/").body.find(R"("state":"Running")"), std::string::npos);
    for (int i = 0; i < 3000 && mote_->console().size() == before; ++i) {
      std::this_thread::sleep_for(1ms);
    }
    ASSERT_GT(mote_->console().size(), before) << "the guest stays paused";
  }
}

TEST_F(BootTest, CtrlAltDelReachesTheGuestAsScanCodes) {
  ASSERT_NO_FATAL_FAILURE(prepare("keyboard", ""));
  ASSERT_NO_FATAL_FAILURE(start());
  ASSERT_TRUE(mote_->wait_for_console("waiting"));
  ASSERT_TRUE(
      is_status(mote_->request("PUT", "/actions", R"({"action_type":"SendCtrlAltDel"})"), 204));
  ASSERT_NO_FATAL_FAILURE(expect_end());
  EXPECT_EQ(mote_->console(), "waiting\ncodes 14 11 e0 71\n");
}

TEST_F(BootTest, StandardInputReachesTheGuestAndAPromptShowsAtOnce) {
  ASSERT_NO_FATAL_FAILURE(prepare("console", ""));
  ASSERT_NO_FATAL_FAILURE(start());
  // The guest sleeps behind its prompt, which has no newline.
  ASSERT_TRUE(mote_->wait_for_console("prompt> "));
  ASSERT_TRUE(mote_->type("hello\n"));
  ASSERT_TRUE(mote_->wait_for_console("HELLO\nprompt> "));
  // More than the serial port takes at once.
  std::string many;
  for (int i = 0; i < 20; ++i) many += "line " + std::to_string(i) + "\n";
  ASSERT_TRUE(mote_->type(many));
  ASSERT_TRUE(mote_->wait_for_console("LINE 19\nprompt> "));
  ASSERT_TRUE(mote_->type("quit\n"));
  ASSERT_NO_FATAL_FAILURE(expect_end());
}

TEST_F(BootTest, AHostWithoutThreadsForTheProcessorsIsTold) {
  if (kSanitized) GTEST_SKIP() << "sanitizers need threads of their own";
  mote_ = MonitorProcess::with_api(folder_, {}, "mote", Host::kDeniesThreads);
  ASSERT_TRUE(is_status(
      mote_->request("PUT", "/boot-source", boot_source_json(guest_image("hello"), "")), 204));
  for (int i = 0; i < 3; ++i) {
    const Response refused = mote_->request("PUT", "/actions", kInstanceStart);
    ASSERT_TRUE(is_status(refused, 400));
    EXPECT_NE(refused.body.find("vcpu_count"), std::string::npos) << refused.body;
    EXPECT_NE(mote_->request("GET", "/").body.find("Not started"), std::string::npos);
  }
  mote_->signal(SIGTERM);
  ASSERT_NO_FATAL_FAILURE(expect_end());
}

TEST_F(BootTest, MemoryOfEverySizeAndKindBoots) {
  struct Machine {
    unsigned mem_size_mib;
    const char* huge_pages;
  };
  // The last two reach over the gap below 4 GiB.
  for (const Machine machine : {Machine{2, "None"},
                                {64, "Transparent"},
                                {127, "None"},
                                {3072, "None"},
                                {3074, "None"},
                                {8192, "Transparent"}}) {
    SCOPED_TRACE(machine.mem_size_mib);
    ASSERT_NO_FATAL_FAILURE(prepare("hello", ""));
    const std::string body = R"({"vcpu_count":1,"mem_size_mib":)" +
                             std::to_string(machine.mem_size_mib) + R"(,"huge_pages":")" +
                             machine.huge_pages + R"("})";
    ASSERT_TRUE(is_status(mote_->request("PUT", "/machine-config", body), 204));
    ASSERT_NO_FATAL_FAILURE(start());
    ASSERT_NO_FATAL_FAILURE(expect_end());
    EXPECT_EQ(mote_->console(), "hello from a tiny guest\n");
  }
}

TEST_F(BootTest, HugePagesAreUsedOrTheirLackIsNamed) {
  ASSERT_NO_FATAL_FAILURE(prepare("hello", ""));
  ASSERT_TRUE(is_status(mote_->request("PUT", "/machine-config",
                                       R"({"vcpu_count":1,"mem_size_mib":64,"huge_pages":"2M"})"),
                        204));
  const Response answer = mote_->request("PUT", "/actions", kInstanceStart);
  if (answer.status == 204) {
    ASSERT_NO_FATAL_FAILURE(expect_end());
    EXPECT_EQ(mote_->console(), "hello from a tiny guest\n");
  } else {
    ASSERT_TRUE(is_status(answer, 400));
    EXPECT_NE(answer.body.find("huge_pages"), std::string::npos) << answer.body;
  }
}

TEST_F(BootTest, MemoryBeyondTheAddressSpaceIsRefused) {
  ASSERT_NO_FATAL_FAILURE(prepare("hello", ""));
  ASSERT_TRUE(is_status(mote_->request("PUT", "/machine-config", machine_json(1, 67108864)), 204));
  const Response refused = mote_->request("PUT", "/actions", kInstanceStart);
  ASSERT_TRUE(is_status(refused, 400));
  EXPECT_NE(refused.body.find("mem_size_mib"), std::string::npos) << refused.body;
}

TEST_F(BootTest, ACapabilityTheHostLacksIsNamed) {
  ASSERT_NO_FATAL_FAILURE(prepare("hello", ""));
  ASSERT_TRUE(
      is_status(mote_->request("PUT", "/cpu-config", R"({"kvm_capabilities":["4095"]})"), 204));
  const Response refused = mote_->request("PUT", "/actions", kInstanceStart);
  ASSERT_TRUE(is_status(refused, 400));
  EXPECT_NE(refused.body.find("kvm_capabilities"), std::string::npos) << refused.body;
  EXPECT_NE(refused.body.find("4095"), std::string::npos) << refused.body;
}

TEST_F(BootTest, AProcessorThatCannotGoOnEndsTheProcessWithCode2) {
  EXPECT_EQ(run_to_end("shutdown", "how=nowhere"), (Ending{2, 0})) << mote_->log();
  EXPECT_EQ(mote_->console(), "ending by nowhere\n");
  EXPECT_NE(mote_->log().find("vCPU 0"), std::string::npos) << mote_->log();
}

TEST_F(BootTest, TwoVmsRunAtOnceAndDoNotDisturbEachOther) {
  auto first = MonitorProcess::with_api(folder_, {"--id", "first"}, "first");
  auto second = MonitorProcess::with_api(folder_, {"--id", "second"}, "second");
  for (MonitorProcess* const mote : {first.get(), second.get()}) {
    ASSERT_TRUE(is_status(
        mote->request("PUT", "/boot-source", boot_source_json(guest_image("spin"), "tick=5")),
        204));
    ASSERT_TRUE(is_status(mote->request("PUT", "/actions", kInstanceStart), 204));
  }
  ASSERT_TRUE(first->wait_for_console(".\n"));
  ASSERT_TRUE(second->wait_for_console(".\n"));
  EXPECT_NE(first->request("GET", "/").body.find(R"("id":"first")"), std::string::npos);
  first->signal(SIGTERM);
  EXPECT_EQ(first->wait(), (Ending{0, 0}));
  const size_t before = second->console().size();
  for (int i = 0; i < 3000 && second->console().size() == before; ++i) {
    std::this_thread::sleep_for(1ms);
  }
  EXPECT_GT(second->console().size(), before);
}

TEST_F(BootTest, AGuestThatEndsWhileTheApiIsBusyEndsTheProcess) {
  for (int round = 0; round < 10; ++round) {
    ASSERT_NO_FATAL_FAILURE(prepare("hello", ""));
    ApiClient client(mote_->socket_path());
    ASSERT_TRUE(is_status(client.request("PUT", "/actions", kInstanceStart), 204));
    while (client.request("GET", "/vm/config").status == 200) continue;
    ASSERT_NO_FATAL_FAILURE(expect_end());
  }
}

}  // namespace
}  // namespace mote::integration
