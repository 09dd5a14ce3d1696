// What a taken-over monitor might try. Run in a jail in the monitor's place; prints one line for
// each attempt, "denied NAME" or "ALLOWED NAME", facts as "is NAME VALUE", and "end". Arguments:
// --id ID and the clocks that every jailed program gets, then HOST_FILE HOST_SOCKET HOST_PID.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/keyctl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <unistd.h>

extern char** environ;

// `outcome` as of a system call: negative when it was refused.
static void attempt(const char* name, const char* detail, long outcome) {
  printf("%s %s %s\n", outcome < 0 ? "denied" : "ALLOWED", name, detail);
}

static void try_open(const char* path) {
  attempt("open", path, open(path, O_RDONLY));
}

static void try_descriptors(void) {
  for (int fd = 3; fd < 64; ++fd) {
    if (fcntl(fd, F_GETFD) >= 0) attempt("inherited descriptor", "", fd);
  }
}

static void try_files(const char* host_file) {
  char climbing[512];
  try_open(host_file);
  snprintf(climbing, sizeof(climbing), "../../../../../../../..%s", host_file);
  try_open(climbing);
  try_open("/etc/passwd");
  try_open("/etc/shadow");
  try_open("/proc/self/status");
  try_open("/proc/1/root");
  try_open("/proc/sysrq-trigger");
  try_open("/sys/kernel");
  try_open("/dev/mem");
  try_open("/dev/sda");
  try_open("/dev/vda");
  try_open("/var/run/docker.sock");
  // The old root may still be there for who holds a descriptor or asks for the parent often enough.
  for (int i = 0; i < 64; ++i) chdir("..");
  try_open("etc/passwd");
}

static void try_making(void) {
  attempt("mkdir", "/dev/x", mkdir("/dev/x", 0755));
  attempt("mkdir", "/x", mkdir("/x", 0755));
  attempt("mknod", "block device", mknod("/disk", S_IFBLK | 0600, makedev(8, 0)));
  attempt("mknod", "/dev/mem", mknod("/mem", S_IFCHR | 0600, makedev(1, 1)));
  attempt("unlink", "/dev/kvm", unlink("/dev/kvm"));
  const int fd = open("/program", O_WRONLY | O_CREAT, 0755);
  static const char kScript[] = "#!/x\n";
  if (fd >= 0 && write(fd, kScript, sizeof(kScript) - 1) > 0) close(fd);
  char* const none[] = {NULL};
  attempt("exec", "a file of its own", execve("/program", none, none));
}

static void try_mounts(void) {
  attempt("mount", "proc", mount("proc", "/run", "proc", 0, NULL));
  attempt("mount", "tmpfs", mount("none", "/run", "tmpfs", 0, NULL));
  attempt("mount", "bind", mount("/dev", "/run", NULL, MS_BIND, NULL));
  attempt("mount", "remount", mount(NULL, "/", NULL, MS_REMOUNT, NULL));
  attempt("umount", "/", umount2("/", MNT_DETACH));
  attempt("chroot", "/run", chroot("/run"));
  attempt("pivot_root", ".", syscall(SYS_pivot_root, ".", "."));
  attempt("fsopen", "proc", syscall(SYS_fsopen, "proc", 0));
  attempt("open_tree", "/", syscall(SYS_open_tree, AT_FDCWD, "/", 1));
}

static void try_namespaces(void) {
  static const struct {
    const char* name;
    int flag;
  } kinds[] = {{"user", CLONE_NEWUSER},    {"mount", CLONE_NEWNS}, {"pid", CLONE_NEWPID},
               {"net", CLONE_NEWNET},      {"uts", CLONE_NEWUTS},  {"ipc", CLONE_NEWIPC},
               {"cgroup", CLONE_NEWCGROUP}};
  for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); ++i) {
    attempt("unshare", kinds[i].name, unshare(kinds[i].flag));
    const long child = syscall(SYS_clone, kinds[i].flag | SIGCHLD, 0, 0, 0, 0);
    if (child == 0) _exit(0);
    attempt("clone", kinds[i].name, child);
  }
  attempt("setns", "descriptor 0", setns(0, 0));
  attempt("clone3", "", syscall(SYS_clone3, NULL, 0));
}

static void try_processes(pid_t host_pid) {
  attempt("kill", "a host process", kill(host_pid, 0));
  attempt("kill", "process 1", getpid() == 1 ? -1 : kill(1, 0));
  attempt("ptrace", "a host process", ptrace(PTRACE_SEIZE, host_pid, NULL, NULL));
  attempt("ptrace", "own parent", ptrace(PTRACE_TRACEME, 0, NULL, NULL));
  attempt("process_vm_readv", "", syscall(SYS_process_vm_readv, host_pid, NULL, 0, NULL, 0, 0));
  attempt("pidfd_open", "a host process's files",
          syscall(SYS_pidfd_getfd, syscall(SYS_pidfd_open, host_pid, 0), 0, 0));
  attempt("setpriority", "a host process", setpriority(PRIO_PROCESS, (id_t)host_pid, -5));
  attempt("prlimit", "a host process",
          prlimit(host_pid, RLIMIT_NOFILE, NULL, &(struct rlimit){0, 0}));
  attempt("raise limits", "", setrlimit(RLIMIT_NOFILE, &(struct rlimit){1 << 20, 1 << 20}));
}

static void try_sockets(const char* host_socket) {
  attempt("socket", "packet", socket(AF_PACKET, SOCK_RAW, htons(3)));
  attempt("socket", "raw IP", socket(AF_INET, SOCK_RAW, 255));
  attempt("socket", "TCP", socket(AF_INET, SOCK_STREAM, 0));
  attempt("socket", "UDP", socket(AF_INET6, SOCK_DGRAM, 0));
  attempt("socket", "netlink", socket(AF_NETLINK, SOCK_RAW, 0));
  attempt("socket", "vsock", socket(AF_VSOCK, SOCK_STREAM, 0));
  attempt("socket", "kernel cryptography", socket(AF_ALG, SOCK_SEQPACKET, 0));
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  snprintf(address.sun_path, sizeof(address.sun_path), "%s", host_socket);
  const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  attempt("connect", "another VM's socket",
          connect(fd, (const struct sockaddr*)&address, sizeof(address)));
  // An abstract name has no place in a file system that could keep it out.
  struct sockaddr_un name = {.sun_family = AF_UNIX, .sun_path = "\0mote-victim"};
  attempt("connect", "an abstract name of the host",
          connect(socket(AF_UNIX, SOCK_STREAM, 0), (const struct sockaddr*)&name,
                  (socklen_t)(offsetof(struct sockaddr_un, sun_path) + sizeof("mote-victim"))));
}

static void try_kernel(void) {
  attempt("add_key", "", syscall(SYS_add_key, "user", "x", "y", 1, KEY_SPEC_USER_KEYRING));
  attempt("keyctl", "", syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 1));
  attempt("request_key", "", syscall(SYS_request_key, "user", "x", NULL, 0));
  attempt("bpf", "", syscall(SYS_bpf, 0, NULL, 0));
  attempt("perf_event_open", "", syscall(SYS_perf_event_open, NULL, 0, -1, -1, 0));
  attempt("init_module", "", syscall(SYS_init_module, NULL, 0, ""));
  attempt("kexec_load", "", syscall(SYS_kexec_load, 0, 0, NULL, 0));
  attempt("reboot", "", syscall(SYS_reboot, 0, 0, 0, NULL));
  attempt("iopl", "", syscall(SYS_iopl, 3));
  attempt("sethostname", "", sethostname("x", 1));
  attempt("settimeofday", "", syscall(SYS_settimeofday, NULL, NULL));
  attempt("syslog", "", syscall(SYS_syslog, 3, NULL, 0));
  attempt("open_by_handle_at", "", syscall(SYS_open_by_handle_at, AT_FDCWD, NULL, 0));
  attempt("personality", "", syscall(SYS_personality, 0xffffffff));
  attempt("setuid", "root", setuid(0));
  attempt("setgid", "root", setgid(0));
  attempt("setgroups", "", setgroups(1, &(gid_t){0}));
  attempt("chown", "/run", chown("/run", 0, 0));
}

static void tell_facts(void) {
  struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  struct __user_cap_data_struct sets[2] = {{0}};
  syscall(SYS_capget, &header, sets);
  int bounding = 0;
  for (int i = 0; i <= 63; ++i) bounding += prctl(PR_CAPBSET_READ, i, 0, 0, 0) == 1;
  struct rlimit limit = {0, 0};
  getrlimit(RLIMIT_NOFILE, &limit);
  printf("is uid %d\nis gid %d\nis groups %d\n", getuid(), getgid(), getgroups(0, NULL));
  printf("is capabilities %u\nis bounding %d\n",
         sets[0].effective | sets[0].permitted | sets[0].inheritable | sets[1].permitted, bounding);
  printf("is no_new_privs %d\n", prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
  printf("is environment %d\nis descriptors %llu\n", environ[0] != NULL,
         (unsigned long long)limit.rlim_cur);
  printf("is pid1 %d\nis kvm %d\n", getpid() == 1, open("/dev/kvm", O_RDWR | O_CLOEXEC) >= 0);
}

int main(int argc, char** argv) {
  if (argc < 4) return 3;
  setvbuf(stdout, NULL, _IOLBF, 0);
  try_descriptors();
  tell_facts();
  try_files(argv[argc - 3]);
  try_making();
  try_mounts();
  try_namespaces();
  try_processes((pid_t)atoi(argv[argc - 1]));
  try_sockets(argv[argc - 2]);
  try_kernel();
  puts("end");
  return 0;
}
