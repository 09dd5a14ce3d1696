// compile_seccomp POLICY.json OUTPUT.cc: the built-in policy as constant BPF, so that a start-up
// spends nothing on it; and the names of all system calls, for the line that says which one was
// forbidden.

#include <seccomp.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>

#include "monitor/seccomp/policy.h"

namespace mote::monitor::seccomp {
namespace {

constexpr int kNumbers = 512;  // The kernel's table ends well before.

void write_program(std::ofstream& out, const char* name, const std::vector<sock_filter>& program) {
  out << "constexpr sock_filter " << name << "[] = {\n";
  for (const auto& [code, jt, jf, k] : program) {
    out << "    {" << code << ", " << int{jt} << ", " << int{jf} << ", " << k << "U},\n";
  }
  out << "};\n";
}

void write_names(std::ofstream& out) {
  out << "constexpr std::string_view kNames[] = {\n";
  for (int number = 0; number < kNumbers; ++number) {
    char* const name = seccomp_syscall_resolve_num_arch(SCMP_ARCH_X86_64, number);
    out << "    \"" << (name == nullptr ? "" : name) << "\",\n";
    std::free(name);  // libseccomp gives it away as malloc'ed.
  }
  out << "};\n";
}

int run(const char* policy_path, const char* output_path) {
  std::ifstream in(policy_path);
  const std::string text{std::istreambuf_iterator<char>(in), {}};
  const auto programs = compile_policy(text);
  if (!programs) {
    std::fprintf(stderr, "%s: %s\n", policy_path, programs.error().message().c_str());
    return 1;
  }
  std::ofstream out(output_path, std::ios::trunc);
  out << "// Made from policy.json by compile_seccomp.\n#include \"monitor/seccomp/filter.h\"\n\n"
         "namespace mote::monitor::seccomp {\nnamespace {\n\n";
  write_program(out, "kLoop", programs->loop);
  write_program(out, "kVcpu", programs->vcpu);
  write_program(out, "kJail", programs->jail);
  write_names(out);
  out << "\n}  // namespace\n\n"
         "std::span<const sock_filter> built_in_loop_program() { return kLoop; }\n"
         "std::span<const sock_filter> built_in_vcpu_program() { return kVcpu; }\n"
         "std::span<const sock_filter> built_in_jail_program() { return kJail; }\n"
         "std::string_view system_call_name(uint64_t number) {\n"
         "  return number < std::size(kNames) ? kNames[number] : std::string_view();\n}\n\n"
         "}  // namespace mote::monitor::seccomp\n";
  return out.flush() ? 0 : 1;
}

}  // namespace
}  // namespace mote::monitor::seccomp

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fputs("usage: compile_seccomp POLICY.json OUTPUT.cc\n", stderr);
    return 2;
  }
  return mote::monitor::seccomp::run(argv[1], argv[2]);
}
