// SPDX-License-Identifier: GPL-2.0-only
/* What is given up is gone: each case runs in a process of its own. */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "privilege.h"

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif

#define REFUSED 77 /* there is nothing to give up, or no filter here */

/* The sanitizers' own calls would end the process: privilege_test.py runs the other build. */
#ifdef __SANITIZE_ADDRESS__
#define WHY_REFUSED "sanitizers need other system calls; tests/net/privilege_test.py has it run"
#else
#define WHY_REFUSED "not permitted here, or not known to this kernel"
#endif

/* The end of a process that runs `act`: its exit status, or minus the signal. */
static int end_of(void (*act)(bool sessions), bool sessions)
{
	pid_t child = fork();
	int status;

	assert_true(child >= 0);
	if (!child) {
		act(sessions);
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

static void expect_end(void (*act)(bool), bool sessions, int expected)
{
	int end = end_of(act, sessions);

	if (end == REFUSED) {
		printf("# SKIP " WHY_REFUSED "\n");
		skip();
	}
	assert_int_equal(end, expected);
}

/* ---- Capabilities ----------------------------------------------------------- */

static uint64_t status_field(const char *name)
{
	FILE *file = fopen("/proc/self/status", "re");
	unsigned long long value = ~0ULL;
	char line[256];

	while (file && fgets(line, sizeof(line), file))
		if (!strncmp(line, name, strlen(name)))
			value = strtoull(line + strlen(name), NULL, 16);
	if (file)
		fclose(file);
	return value;
}

static void keep_capabilities(bool sessions)
{
	const uint64_t kept = 1ULL << CAP_BPF | 1ULL << CAP_NET_ADMIN |
			      (sessions ? 1ULL << CAP_SYS_PTRACE : 0);

	if ((status_field("CapEff:") & kept) != kept ||
	    !(status_field("CapEff:") & 1ULL << CAP_SETPCAP))
		_exit(REFUSED);
	if (privilege_drop(sessions))
		_exit(1);
	if (status_field("CapEff:") != kept || status_field("CapPrm:") != kept)
		_exit(2);
	if (status_field("CapInh:") || status_field("CapAmb:"))
		_exit(3);
	if (status_field("CapBnd:") & ~kept)
		_exit(4);
	if (status_field("NoNewPrivs:") != 1)
		_exit(5);
}

static void test_capabilities(void **state)
{
	(void)state;
	expect_end(keep_capabilities, false, 0);
	expect_end(keep_capabilities, true, 0);
}

/* What had to be root before cannot be done any more. */
static void lose_power(bool sessions)
{
	if (status_field("CapEff:") + 1 == 0 || geteuid())
		_exit(REFUSED);
	if (privilege_drop(sessions))
		_exit(1);
	if (!sethostname("x", 1) || errno != EPERM)
		_exit(2);
	if (!setuid(65534))
		_exit(3);
}

static void test_power(void **state)
{
	(void)state;
	expect_end(lose_power, false, 0);
}

/* ---- System calls ----------------------------------------------------------- */

static void filter(bool sessions)
{
#ifdef __SANITIZE_ADDRESS__
	(void)sessions;
	_exit(REFUSED);
#else
	if (privilege_filter(sessions))
		_exit(REFUSED);
#endif
}

static void read_a_file(bool sessions)
{
	char byte;
	int fd;

	filter(sessions);
	fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
	if (fd < 0 || read(fd, &byte, 1) != 1)
		_exit(1);
	close(fd);
	fd = socket(AF_NETLINK, SOCK_RAW, 0);
	if (fd < 0)
		_exit(2);
	close(fd);
	if (prctl(PR_GET_SECCOMP) >= 0)
		_exit(3); /* not on the list */
}

static void write_a_file(bool sessions)
{
	filter(sessions);
	open("/dev/null", O_WRONLY | O_CLOEXEC);
}

static void make_a_file(bool sessions)
{
	filter(sessions);
	open("/dev/null", O_RDONLY | O_CREAT | O_CLOEXEC, 0600);
}

static void execute(bool sessions)
{
	filter(sessions);
	execl("/bin/true", "true", NULL);
}

static void divide(bool sessions)
{
	filter(sessions);
	fork();
}

static void trace(bool sessions)
{
	filter(sessions);
	ptrace(PTRACE_TRACEME, 0, NULL, NULL);
}

static void open_internet(bool sessions)
{
	filter(sessions);
	socket(AF_PACKET, SOCK_RAW, 0);
}

static void run_data(bool sessions)
{
	void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	filter(sessions);
	mprotect(page, 4096, PROT_READ | PROT_EXEC);
}

static void mount_something(bool sessions)
{
	filter(sessions);
	syscall(SYS_mount, "none", "/", "none", 0, NULL);
}

static void test_allowed(void **state)
{
	(void)state;
	/* prctl() at the end is what ends it: all before was fine. */
	expect_end(read_a_file, false, -SIGSYS);
}

static void test_forbidden(void **state)
{
	void (*const acts[])(bool) = {
		write_a_file, make_a_file,   execute,  divide,
		trace,        open_internet, run_data, mount_something,
	};

	(void)state;
	for (size_t i = 0; i < sizeof(acts) / sizeof(acts[0]); i++) {
		expect_end(acts[i], false, -SIGSYS);
		expect_end(acts[i], true, -SIGSYS);
	}
}

static void look_at_process(bool sessions)
{
	filter(sessions);
	if (syscall(SYS_pidfd_open, getpid(), 0) < 0)
		_exit(errno);
}

static void test_sessions(void **state)
{
	(void)state;
	expect_end(look_at_process, true, 0);
	expect_end(look_at_process, false, EPERM);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_capabilities), cmocka_unit_test(test_power),
		cmocka_unit_test(test_allowed),      cmocka_unit_test(test_forbidden),
		cmocka_unit_test(test_sessions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
