// SPDX-License-Identifier: GPL-2.0-only
/* Attach the static redirect to a device until standard input ends. */
#include <getopt.h>

#include "common.h"
#include "redirect.skel.h"

struct options {
	unsigned int ifindex;
	unsigned int out_ifindex;
	unsigned char macs[2 * ETH_ALEN]; /* destination, source */
	bool tc;                          /* at tcx ingress instead of XDP */
};

static const char usage[] = "usage: redirect --hook xdp|tc --dev NAME --to NAME --dmac MAC "
			    "--smac MAC\n"
			    "Redirects every frame of one device to another until stdin ends.\n";

static bool parse_hook(const char *text)
{
	bool tc = !strcmp(text, "tc");

	if (!tc && strcmp(text, "xdp"))
		bad_value("--hook", text);
	return tc;
}

static void parse_options(int argc, char **argv, struct options *opts)
{
	static const struct option longopts[] = {
		{ "hook", required_argument, NULL, 'k' },
		{ "dev", required_argument, NULL, 'd' },
		{ "to", required_argument, NULL, 't' },
		{ "dmac", required_argument, NULL, 'm' },
		{ "smac", required_argument, NULL, 's' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	unsigned int given = 0;
	int opt;

	while ((opt = getopt_long(argc, argv, "", longopts, NULL)) != -1) {
		given++;
		switch (opt) {
		case 'k':
			opts->tc = parse_hook(optarg);
			break;
		case 'd':
			opts->ifindex = parse_device("--dev", optarg);
			break;
		case 't':
			opts->out_ifindex = parse_device("--to", optarg);
			break;
		case 'm':
			parse_mac("--dmac", optarg, opts->macs);
			break;
		case 's':
			parse_mac("--smac", optarg, opts->macs + ETH_ALEN);
			break;
		case 'h':
			fputs(usage, stdout);
			exit(0);
		default:
			fputs(usage, stderr);
			exit(STATUS_USAGE);
		}
	}
	if (given != 5 || optind != argc || !opts->ifindex || !opts->out_ifindex) {
		fputs(usage, stderr);
		exit(STATUS_USAGE);
	}
}

static struct redirect_bpf *load(const struct options *opts)
{
	struct redirect_bpf *skel = redirect_bpf__open();

	if (!skel)
		return NULL;
	_Static_assert(sizeof(skel->rodata->macs) == sizeof(opts->macs), "two MAC addresses");
	memcpy(skel->rodata->macs, opts->macs, sizeof(opts->macs));
	skel->rodata->out_ifindex = opts->out_ifindex;
	bpf_program__set_autoload(opts->tc ? skel->progs.redirect_xdp : skel->progs.redirect_tc,
				  false);
	if (redirect_bpf__load(skel)) {
		redirect_bpf__destroy(skel);
		return NULL;
	}
	return skel;
}

static int attach(struct redirect_bpf *skel, const struct options *opts)
{
	if (!opts->tc) {
		skel->links.redirect_xdp = attach_xdp(skel->progs.redirect_xdp, opts->ifindex);
		return skel->links.redirect_xdp ? 0 : -errno;
	}

	LIBBPF_OPTS(bpf_tcx_opts, tcx);

	skel->links.redirect_tc =
		bpf_program__attach_tcx(skel->progs.redirect_tc, (int)opts->ifindex, &tcx);
	if (skel->links.redirect_tc)
		return 0;
	fprintf(stderr, "attach redirect_tc to interface %u: %s (tcx needs Linux 6.6)\n",
		opts->ifindex, strerror(errno));
	return -errno;
}

int main(int argc, char **argv)
{
	struct options opts = { 0 };
	struct redirect_bpf *skel;

	parse_options(argc, argv, &opts);
	skel = load(&opts);
	if (!skel) {
		fprintf(stderr, "load the redirect: %s\n", strerror(errno));
		return STATUS_FAILURE;
	}
	if (attach(skel, &opts)) {
		redirect_bpf__destroy(skel);
		return STATUS_FAILURE;
	}
	say_ready();
	while (getchar() != EOF)
		;
	redirect_bpf__destroy(skel);
	return 0;
}
