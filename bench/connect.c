// SPDX-License-Identifier: GPL-2.0-only
/*
 * Short TCP connections: "connect serve" takes them, "connect run" makes them, so many at a time. A
 * connection is a handshake, some requests with their answers, and an end, which the server begins:
 * its ports are taken by TIME_WAIT, not the client's. The result is one JSON object on standard
 * output.
 */
#include <getopt.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>

#include "common.h"

/* Server ports in use, so that a client has enough of its own. */
#define PORTS 16
#define MESSAGE_LEN 64
#define MAX_PARALLEL 4096
#define MAX_EVENTS 256
#define MAX_SAMPLES (1 << 22)
#define BACKLOG 4096

struct options {
	in_addr_t address;
	unsigned short port;
	unsigned int parallel;
	unsigned int exchanges;
	unsigned int seconds;
};

struct connection {
	unsigned int exchanges; /* done */
	unsigned int received;  /* bytes of the message under way */
	double begun;
};

struct result {
	unsigned int begun;
	unsigned int ended;
	unsigned int failed;
	float *ms; /* each took */
};

static const char usage[] =
	"usage: connect serve --address ADDRESS --port PORT --exchanges N\n"
	"       connect run --address ADDRESS --port PORT --exchanges N\n"
	"                   --parallel N --seconds N\n"
	"serve: answers on 16 ports from PORT on until the standard input ends\n"
	"run: short TCP connections to them for some seconds\n";

static struct connection *connections; /* by descriptor */
static unsigned int max_connections;

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static _Noreturn void fail(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	exit(STATUS_FAILURE);
}

static _Noreturn void bad_usage(void)
{
	fputs(usage, stderr);
	exit(STATUS_USAGE);
}

static void parse_options(int argc, char **argv, struct options *opts)
{
	static const struct option longopts[] = {
		{ "address", required_argument, NULL, 'a' },
		{ "port", required_argument, NULL, 'p' },
		{ "exchanges", required_argument, NULL, 'e' },
		{ "parallel", required_argument, NULL, 'n' },
		{ "seconds", required_argument, NULL, 's' },
		{ NULL, 0, NULL, 0 },
	};
	int opt;

	while ((opt = getopt_long(argc, argv, "", longopts, NULL)) != -1) {
		if (opt == 'a')
			opts->address = parse_address("--address", optarg);
		else if (opt == 'p')
			opts->port =
				(unsigned short)parse_number("--port", optarg, 1, 65535 - PORTS);
		else if (opt == 'e')
			opts->exchanges =
				(unsigned int)parse_number("--exchanges", optarg, 1, 1000);
		else if (opt == 'n')
			opts->parallel =
				(unsigned int)parse_number("--parallel", optarg, 1, MAX_PARALLEL);
		else if (opt == 's')
			opts->seconds = (unsigned int)parse_number("--seconds", optarg, 1, 3600);
		else
			bad_usage();
	}
	if (!opts->address || !opts->port || !opts->exchanges)
		bad_usage();
}

static struct sockaddr_in address_of(const struct options *opts, unsigned int index)
{
	return (struct sockaddr_in){
		.sin_family = AF_INET,
		.sin_port = htons((unsigned short)(opts->port + index % PORTS)),
		.sin_addr.s_addr = opts->address,
	};
}

static void watch(int epoll, int fd, unsigned int events)
{
	struct epoll_event event = { .events = events, .data.fd = fd };

	if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event))
		fail("epoll_ctl");
}

static void begin(int epoll, int fd, unsigned int events)
{
	int one = 1;

	if ((unsigned int)fd >= max_connections) {
		errno = EMFILE;
		fail("connection");
	}
	connections[fd] = (struct connection){ .begun = now() };
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	watch(epoll, fd, events);
}

/* A whole message has come: 1; not yet: 0; the other side has ended: -1. */
static int receive(int fd, struct connection *connection)
{
	char message[MESSAGE_LEN];
	ssize_t len = recv(fd, message, sizeof(message) - connection->received, 0);

	if (len < 0)
		return errno == EAGAIN ? 0 : -1;
	if (!len)
		return -1;
	connection->received += (unsigned int)len;
	if (connection->received < sizeof(message))
		return 0;
	connection->received = 0;
	connection->exchanges++;
	return 1;
}

/* A message is far shorter than an empty socket buffer: it goes out whole, or never. */
static bool transmit(int fd)
{
	static const char message[MESSAGE_LEN];

	return send(fd, message, sizeof(message), MSG_NOSIGNAL) == sizeof(message);
}

/* ---- Server ----------------------------------------------------------------- */

static int listen_at(const struct options *opts, unsigned int index)
{
	struct sockaddr_in address = address_of(opts, index);
	int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);

	if (fd < 0)
		fail("socket");
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) || listen(fd, BACKLOG))
		fail("listen");
	return fd;
}

static void accept_all(int epoll, int listener)
{
	int fd;

	while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0)
		begin(epoll, fd, EPOLLIN);
}

static void answer(const struct options *opts, int fd)
{
	int state = receive(fd, &connections[fd]);

	if (state < 0 || (state > 0 && !transmit(fd)) ||
	    connections[fd].exchanges == opts->exchanges)
		close(fd);
}

static int serve(const struct options *opts)
{
	struct epoll_event events[MAX_EVENTS];
	int epoll = epoll_create1(0), last = -1;

	for (unsigned int i = 0; i < PORTS; i++) {
		last = listen_at(opts, i);
		watch(epoll, last, EPOLLIN);
	}
	watch(epoll, STDIN_FILENO, EPOLLIN);
	say_ready();
	for (;;) {
		int number = epoll_wait(epoll, events, MAX_EVENTS, -1);

		for (int i = 0; i < number; i++) {
			int fd = events[i].data.fd;

			if (fd == STDIN_FILENO)
				return 0;
			if (fd <= last) /* listeners were opened first */
				accept_all(epoll, fd);
			else
				answer(opts, fd);
		}
	}
}

/* ---- Client ----------------------------------------------------------------- */

static void connect_next(const struct options *opts, int epoll, struct result *result)
{
	struct sockaddr_in address = address_of(opts, result->begun++);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);

	if (fd < 0)
		fail("socket");
	begin(epoll, fd, EPOLLIN | EPOLLOUT | EPOLLET);
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) && errno != EINPROGRESS)
		fail("connect");
}

/* Requests until the server ends it. Returns false when it has ended. */
static bool request(const struct options *opts, int fd, unsigned int events)
{
	struct connection *connection = &connections[fd];
	int state;

	if (events & EPOLLOUT && !connection->exchanges && !connection->received &&
	    !(events & EPOLLIN))
		return transmit(fd);
	while ((state = receive(fd, connection)) > 0)
		if (connection->exchanges < opts->exchanges && !transmit(fd))
			return false;
	return state == 0;
}

static void note_end(const struct options *opts, int fd, struct result *result)
{
	const struct connection *connection = &connections[fd];

	if (connection->exchanges < opts->exchanges)
		result->failed++;
	else if (result->ended < MAX_SAMPLES)
		result->ms[result->ended++] = (float)((now() - connection->begun) * 1e3);
}

static int compare(const void *a, const void *b)
{
	const float *one = a, *other = b;

	return (*one > *other) - (*one < *other);
}

static double percentile(const struct result *result, double share)
{
	unsigned int rank = (unsigned int)((double)result->ended * share);

	if (!result->ended)
		return 0;
	return (double)result->ms[rank < result->ended ? rank : result->ended - 1];
}

static void print_result(struct result *result, double seconds)
{
	qsort(result->ms, result->ended, sizeof(*result->ms), compare);
	printf("{\"connections\": %u, \"failed\": %u, \"seconds\": %.6f, \"p50_ms\": %.3f, "
	       "\"p99_ms\": %.3f, \"max_ms\": %.3f}\n",
	       result->ended, result->failed, seconds, percentile(result, 0.5),
	       percentile(result, 0.99), percentile(result, 1));
}

static int run(const struct options *opts)
{
	struct epoll_event events[MAX_EVENTS];
	struct result result = { .ms = calloc(MAX_SAMPLES, sizeof(*result.ms)) };
	double start = now(), end = start + opts->seconds;
	int epoll = epoll_create1(0);

	if (!opts->parallel || !opts->seconds)
		bad_usage();
	if (!result.ms)
		fail("memory");
	for (unsigned int i = 0; i < opts->parallel; i++)
		connect_next(opts, epoll, &result);
	while (now() < end) {
		int number = epoll_wait(epoll, events, MAX_EVENTS, 100);

		for (int i = 0; i < number; i++) {
			int fd = events[i].data.fd;

			if (request(opts, fd, events[i].events))
				continue;
			note_end(opts, fd, &result);
			close(fd);
			connect_next(opts, epoll, &result);
		}
	}
	print_result(&result, now() - start);
	return 0;
}

int main(int argc, char **argv)
{
	struct options opts = { 0 };

	if (argc < 2)
		bad_usage();
	parse_options(argc - 1, argv + 1, &opts);
	max_connections = 4 * MAX_PARALLEL;
	connections = calloc(max_connections, sizeof(*connections));
	if (!connections)
		fail("memory");
	if (!strcmp(argv[1], "serve"))
		return serve(&opts);
	if (!strcmp(argv[1], "run"))
		return run(&opts);
	bad_usage();
}
