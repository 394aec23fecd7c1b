/* SPDX-License-Identifier: GPL-2.0-only */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "privilege.h"
#include "util.h"

/* ---- Capabilities ----------------------------------------------------------- */

static int set_capabilities(uint64_t keep)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2];

	if (syscall(SYS_capget, &header, data))
		return -errno;
	for (size_t i = 0; i < ARRAY_SIZE(data); i++) {
		data[i].permitted &= (uint32_t)(keep >> (32 * i));
		data[i].effective &= data[i].permitted;
		data[i].inheritable = 0;
	}
	return syscall(SYS_capset, &header, data) ? -errno : 0;
}

/* The end of the list is where the kernel knows no more. */
static void drop_bounds(uint64_t keep)
{
	for (int number = 0; number < 64; number++) {
		if (keep >> number & 1)
			continue;
		/* It takes CAP_SETPCAP; who is not root has none to gain by executing. */
		if (prctl(PR_CAPBSET_DROP, number, 0, 0, 0))
			return;
	}
}

int privilege_drop(bool sessions)
{
	uint64_t keep = 1ULL << CAP_BPF | 1ULL << CAP_NET_ADMIN;

	if (sessions)
		keep |= 1ULL << CAP_SYS_PTRACE;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return -errno;
	drop_bounds(keep);
	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	return set_capabilities(keep);
}

/* ---- System calls ----------------------------------------------------------- */

#if defined(__x86_64__) && !defined(__ILP32__)
#define OWN_ARCH AUDIT_ARCH_X86_64
#elif defined(__i386__)
#define OWN_ARCH AUDIT_ARCH_I386
#elif defined(__aarch64__) && __BYTE_ORDER == __LITTLE_ENDIAN
#define OWN_ARCH AUDIT_ARCH_AARCH64
#elif defined(__arm__) && __BYTE_ORDER == __LITTLE_ENDIAN
#define OWN_ARCH AUDIT_ARCH_ARM
#elif defined(__s390x__)
#define OWN_ARCH AUDIT_ARCH_S390X
#elif defined(__mips__) && _MIPS_SIM == _ABIO32 && __BYTE_ORDER == __LITTLE_ENDIAN
#define OWN_ARCH AUDIT_ARCH_MIPSEL
#elif defined(__mips__) && _MIPS_SIM == _ABIO32
#define OWN_ARCH AUDIT_ARCH_MIPS
#elif defined(__mips__) && _MIPS_SIM == _ABI64 && __BYTE_ORDER == __LITTLE_ENDIAN
#define OWN_ARCH AUDIT_ARCH_MIPSEL64
#elif defined(__mips__) && _MIPS_SIM == _ABI64
#define OWN_ARCH AUDIT_ARCH_MIPS64
#elif defined(__riscv) && __riscv_xlen == 64
#define OWN_ARCH AUDIT_ARCH_RISCV64
#elif defined(__powerpc64__) && __BYTE_ORDER == __LITTLE_ENDIAN
#define OWN_ARCH AUDIT_ARCH_PPC64LE
#elif defined(__powerpc64__)
#define OWN_ARCH AUDIT_ARCH_PPC64
#elif defined(__powerpc__)
#define OWN_ARCH AUDIT_ARCH_PPC
#endif

/* Whatever their arguments are. */
static const int allowed[] = {
	SYS_read,
	SYS_readv,
	SYS_pread64,
	SYS_write,
	SYS_writev,
	SYS_close,
	SYS_lseek,
	SYS_ioctl,
	SYS_getdents64,
	SYS_readlinkat,
	SYS_unlinkat,
	SYS_brk,
	SYS_munmap,
	SYS_mremap,
	SYS_madvise,
	SYS_epoll_ctl,
	SYS_epoll_pwait,
	SYS_nanosleep,
	SYS_restart_syscall,
	SYS_getpid,
	SYS_gettid,
	SYS_geteuid,
	SYS_tgkill, /* abort() */
	SYS_rt_sigprocmask,
	SYS_rt_sigaction,
	SYS_rt_sigreturn,
	SYS_exit,
	SYS_exit_group,
	SYS_getrandom,
	SYS_bind,
	SYS_connect,
	SYS_getsockname,
	SYS_getsockopt,
	SYS_setsockopt,
	SYS_sendto,
	SYS_sendmsg,
	SYS_recvfrom,
	SYS_recvmsg,
	SYS_bpf,
/* The same by the names that they have on some architectures, or with some C libraries. */
#ifdef SYS_fcntl
	SYS_fcntl,
#endif
#ifdef SYS_statx
	SYS_statx,
#endif
#ifdef SYS_futex
	SYS_futex,
#endif
#ifdef SYS_ppoll
	SYS_ppoll,
#endif
#ifdef SYS_ppoll_time32
	SYS_ppoll_time32,
#endif
#ifdef SYS_timerfd_settime
	SYS_timerfd_settime,
#endif
#ifdef SYS_timerfd_settime32
	SYS_timerfd_settime32,
#endif
#ifdef SYS_clock_gettime
	SYS_clock_gettime,
#endif
#ifdef SYS_clock_gettime32
	SYS_clock_gettime32,
#endif
#ifdef SYS_clock_nanosleep
	SYS_clock_nanosleep,
#endif
#ifdef SYS_clock_nanosleep_time32
	SYS_clock_nanosleep_time32,
#endif
#ifdef SYS_clock_nanosleep_time64
	SYS_clock_nanosleep_time64,
#endif
#ifdef SYS_gettimeofday_time32
	SYS_gettimeofday_time32,
#endif
#ifdef SYS_access
	SYS_access,
#endif
#ifdef SYS_faccessat
	SYS_faccessat,
#endif
#ifdef SYS_stat
	SYS_stat,
#endif
#ifdef SYS_fstat
	SYS_fstat,
#endif
/* Is there a filter? (pins_look()) */
#ifdef SYS_fstatfs
	SYS_fstatfs,
#endif
#ifdef SYS_fstatfs64
	SYS_fstatfs64,
#endif
#ifdef SYS_newfstatat
	SYS_newfstatat,
#endif
#ifdef SYS_stat64
	SYS_stat64,
#endif
#ifdef SYS_fstat64
	SYS_fstat64,
#endif
#ifdef SYS_fstatat64
	SYS_fstatat64,
#endif
#ifdef SYS__llseek
	SYS__llseek,
#endif
#ifdef SYS_fcntl64
	SYS_fcntl64,
#endif
#ifdef SYS_readlink
	SYS_readlink,
#endif
#ifdef SYS_unlink
	SYS_unlink,
#endif
#ifdef SYS_rmdir
	SYS_rmdir,
#endif
#ifdef SYS_epoll_wait
	SYS_epoll_wait,
#endif
#ifdef SYS_poll
	SYS_poll,
#endif
#ifdef SYS_time
	SYS_time,
#endif
#ifdef SYS_gettimeofday
	SYS_gettimeofday,
#endif
#ifdef SYS_clock_gettime64
	SYS_clock_gettime64,
#endif
#ifdef SYS_timerfd_settime64
	SYS_timerfd_settime64,
#endif
#ifdef SYS_ppoll_time64
	SYS_ppoll_time64,
#endif
#ifdef SYS_futex_time64
	SYS_futex_time64,
#endif
#ifdef SYS_send
	SYS_send,
#endif
#ifdef SYS_recvmmsg
	SYS_recvmmsg,
#endif
#ifdef SYS_recvmmsg_time64
	SYS_recvmmsg_time64,
#endif
#ifdef SYS_recv
	SYS_recv,
#endif
#ifdef SYS_geteuid32
	SYS_geteuid32,
#endif
#ifdef SYS_socketcall
	SYS_socketcall, /* all of the socket's calls in one, on i386 and s390x */
#endif
#ifdef SYS_sigreturn
	SYS_sigreturn,
#endif
};

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef SYS_pidfd_getfd
#define SYS_pidfd_getfd 438
#endif

/* Where the files of pppd are looked at; else they are refused. */
static const int for_sessions[] = { SYS_pidfd_open, SYS_pidfd_getfd, SYS_getpeername };

#define FILTER_MAX 512

struct filter {
	struct sock_filter instruction[FILTER_MAX];
	unsigned short count;
};

static void add(struct filter *filter, struct sock_filter instruction)
{
	if (filter->count < FILTER_MAX)
		filter->instruction[filter->count++] = instruction;
}

static void load(struct filter *filter, size_t offset)
{
	add(filter, (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)offset));
}

/* The low half of argument number `i`; all that are looked at are of 32 bits. */
static void load_argument(struct filter *filter, size_t i)
{
	load(filter, offsetof(struct seccomp_data, args[i]) +
			     (__BYTE_ORDER == __BIG_ENDIAN ? sizeof(uint32_t) : 0));
}

static void give(struct filter *filter, uint32_t action)
{
	add(filter, (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, action));
}

static void give_if_equal(struct filter *filter, uint32_t value, uint32_t action)
{
	add(filter, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, 1));
	give(filter, action);
}

static void allow_equal(struct filter *filter, uint32_t value)
{
	give_if_equal(filter, value, SECCOMP_RET_ALLOW);
}

/* Allow the call if none of these bits of argument number `i` is set. */
static void allow_without(struct filter *filter, int number, size_t i, uint32_t bits)
{
	add(filter,
	    (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)number, 0, 4));
	load_argument(filter, i);
	add(filter, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, bits, 1, 0));
	give(filter, SECCOMP_RET_ALLOW);
	give(filter, SECCOMP_RET_KILL_PROCESS);
}

/* Netlink; the instance's name and the ports' locks; ioctl() about devices. */
static void allow_sockets(struct filter *filter)
{
	add(filter,
	    (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)SYS_socket, 0, 8));
	load_argument(filter, 0);
	allow_equal(filter, AF_NETLINK);
	allow_equal(filter, AF_UNIX);
	allow_equal(filter, AF_INET);
	give(filter, SECCOMP_RET_KILL_PROCESS);
}

static void allow_files(struct filter *filter)
{
	const uint32_t writing = O_WRONLY | O_RDWR | O_CREAT | O_TRUNC;

#ifdef SYS_open
	allow_without(filter, SYS_open, 1, writing);
#endif
	allow_without(filter, SYS_openat, 2, writing);
}

static void allow_memory(struct filter *filter)
{
#if defined(__s390__) || defined(__i386__)
	/* There its arguments are in memory, where a filter cannot look. */
	allow_equal(filter, SYS_mmap);
#elif defined(SYS_mmap)
	allow_without(filter, SYS_mmap, 2, PROT_EXEC);
#endif
#ifdef SYS_mmap2
	allow_without(filter, SYS_mmap2, 2, PROT_EXEC);
#endif
	allow_without(filter, SYS_mprotect, 2, PROT_EXEC);
}

#ifdef OWN_ARCH
static void build(struct filter *filter, bool sessions)
{
	filter->count = 0;
	load(filter, offsetof(struct seccomp_data, arch));
	add(filter, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, OWN_ARCH, 1, 0));
	give(filter, SECCOMP_RET_KILL_PROCESS);
	load(filter, offsetof(struct seccomp_data, nr));
	for (size_t i = 0; i < ARRAY_SIZE(allowed); i++)
		allow_equal(filter, (uint32_t)allowed[i]);
	for (size_t i = 0; i < ARRAY_SIZE(for_sessions); i++)
		give_if_equal(filter, (uint32_t)for_sessions[i],
			      sessions ? SECCOMP_RET_ALLOW : SECCOMP_RET_ERRNO | EPERM);
	allow_sockets(filter);
	allow_files(filter);
	allow_memory(filter);
	give(filter, SECCOMP_RET_KILL_PROCESS);
}
#endif

int privilege_filter(bool sessions)
{
#ifdef OWN_ARCH
	struct filter filter;
	struct sock_fprog program = { .filter = filter.instruction };

	build(&filter, sessions);
	program.len = filter.count;
	if (filter.count == FILTER_MAX)
		return -E2BIG;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0))
		return -errno;
	return 0;
#else
	(void)sessions;
	return -EINVAL;
#endif
}
