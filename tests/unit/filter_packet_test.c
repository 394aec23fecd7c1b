/* SPDX-License-Identifier: GPL-2.0-only */
/* Packets for `bpfw filter why`: made of a description, of digits, and read from captures. */
#include "unit.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "filter/packet.h"
#include "util.h"

static struct packet_description describe(uint8_t family, uint8_t protocol)
{
	struct packet_description description = { .family = family,
						  .protocol = protocol,
						  .source_port = 0x1234,
						  .destination_port = 53,
						  .tcp_flags = 0x12,
						  .icmp_type = 3,
						  .icmp_code = 4,
						  .ttl = 9,
						  .tos = 0xb8 };

	inet_pton(family, family == AF_INET ? "192.0.2.1" : "fd00::1", &description.source);
	inet_pton(family, family == AF_INET ? "192.0.2.2" : "fd00::2", &description.destination);
	return description;
}

/* What a packet is, as somebody else would write it. */
static void assert_frame(const struct packet *packet, const char *digits)
{
	struct packet wanted;

	assert_int_equal(packet_from_hex(&wanted, digits), 0);
	assert_int_equal(packet->size, wanted.size);
	assert_int_equal(packet->family, wanted.family);
	assert_memory_equal(packet->frame, wanted.frame, wanted.size);
}

static void descriptions_are_packets(void **state)
{
	struct packet_description tcp = describe(AF_INET, IPPROTO_TCP);
	struct packet_description udp = describe(AF_INET6, IPPROTO_UDP);
	struct packet_description icmp = describe(AF_INET, IPPROTO_ICMP);
	struct packet packet;

	(void)state;
	assert_int_equal(packet_build(&packet, &tcp), 0);
	assert_frame(&packet, "000000000000 000000000000 0800"
			      "45b80028 00004000 09060000 c0000201 c0000202"
			      "12340035 00000000 00000000 50120000 00000000");
	udp.length = 50;
	assert_int_equal(packet_build(&packet, &udp), 0);
	assert_frame(&packet, "000000000000 000000000000 86dd 6b800000 000a1109"
			      "fd00:0000:0000:0000:0000:0000:0000:0001"
			      "fd00:0000:0000:0000:0000:0000:0000:0002"
			      "1234 0035 000a 0000 0000");
	assert_int_equal(packet_build(&packet, &icmp), 0);
	assert_int_equal(packet.frame[PACKET_LINK + 20], 3);
	assert_int_equal(packet.frame[PACKET_LINK + 21], 4);
}

static void fragments_have_no_ports(void **state)
{
	struct packet_description v4 = describe(AF_INET, IPPROTO_UDP);
	struct packet_description v6 = describe(AF_INET6, IPPROTO_UDP);
	struct packet packet;

	(void)state;
	v4.fragment = v6.fragment = true;
	assert_int_equal(packet_build(&packet, &v4), 0);
	assert_int_equal(packet.size, PACKET_LINK + 20);
	assert_int_equal(packet.frame[PACKET_LINK + 7], 185);
	assert_int_equal(packet_build(&packet, &v6), 0);
	assert_int_equal(packet.size, PACKET_LINK + 48);
	assert_int_equal(packet.frame[PACKET_LINK + 6], IPPROTO_FRAGMENT);
	assert_int_equal(packet.frame[PACKET_LINK + 40], IPPROTO_UDP);
	assert_int_equal(packet.frame[PACKET_LINK + 42] << 8 | packet.frame[PACKET_LINK + 43],
			 185 * 8);
}

static void lengths_have_bounds(void **state)
{
	struct packet_description tcp = describe(AF_INET, IPPROTO_TCP);
	struct packet packet;

	(void)state;
	tcp.length = 39;
	assert_int_equal(packet_build(&packet, &tcp), -EINVAL);
	tcp.length = 40;
	assert_int_equal(packet_build(&packet, &tcp), 0);
	tcp.length = PACKET_MAX - PACKET_LINK;
	assert_int_equal(packet_build(&packet, &tcp), 0);
	tcp.length++;
	assert_int_equal(packet_build(&packet, &tcp), -E2BIG);
}

static void digits_are_packets_or_frames(void **state)
{
	static const struct {
		const char *digits;
		int err;
		uint8_t family;
		size_t size;
	} cases[] = {
		{ "45000014 00000000 40110000 c0000201 c0000202", 0, AF_INET, 34 },
		{ "45:00:00:14:00:00:00:00:40:11:00:00:C0:00:02:01:C0:00:02:02", 0, AF_INET, 34 },
		{ "60000000 00003b40 fd000000000000000000000000000001"
		  "fd000000000000000000000000000002",
		  0, AF_INET6, 54 },
		{ "020000000001 020000000002 0806 0001", 0, AF_UNSPEC, 16 },
		/* A destination address may begin as a packet does. */
		{ "450000150000 020000000002 0800 45000014 00000000 40110000 c0000201 c0000202", 0,
		  AF_INET, 34 },
		{ "4500", -EINVAL, 0, 0 },
		{ "", -EINVAL, 0, 0 },
		{ "4500001", -EINVAL, 0, 0 },
		{ "45000014 0000000g", -EINVAL, 0, 0 },
		{ "dump.pcap", -EINVAL, 0, 0 },
	};
	char *much = malloc(2 * PACKET_MAX + 3);
	struct packet packet;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_int_equal(packet_from_hex(&packet, cases[i].digits), cases[i].err);
		if (cases[i].err)
			continue;
		assert_int_equal(packet.family, cases[i].family);
		assert_int_equal(packet.size, cases[i].size);
	}
	assert_non_null(much);
	memset(much, '0', 2 * PACKET_MAX + 2);
	much[2 * PACKET_MAX + 2] = '\0';
	assert_int_equal(packet_from_hex(&packet, much), -E2BIG);
	much[2 * PACKET_MAX] = '\0';
	assert_int_equal(packet_from_hex(&packet, much), 0);
	free(much);
}

/* ---- Captures ---------------------------------------------------------------------------- */

static const uint8_t plain[] = { 0x45, 0, 0,   20, 0, 0, 0,   0, 64, 17,
				 0,    0, 192, 0,  2, 1, 192, 0, 2,  2 };

struct capture_file {
	char path[32];
	bool swapped;
	FILE *to;
};

static void put(struct capture_file *file, uint32_t value)
{
	value = file->swapped ? __builtin_bswap32(value) : value;
	assert_int_equal(fwrite(&value, sizeof(value), 1, file->to), 1);
}

static void begin_capture(struct capture_file *file, bool swapped, uint32_t magic, uint32_t link)
{
	int fd;

	memset(file, 0, sizeof(*file));
	snprintf(file->path, sizeof(file->path), "/tmp/bpfw-test-XXXXXX");
	fd = mkstemp(file->path);
	assert_true(fd >= 0);
	file->to = fdopen(fd, "w");
	assert_non_null(file->to);
	file->swapped = swapped;
	put(file, magic);
	for (int i = 0; i < 4; i++)
		put(file, 0); /* nobody looks at them */
	put(file, link);
}

static void put_packet(struct capture_file *file, const void *bytes, uint32_t captured,
		       uint32_t length)
{
	put(file, 0);
	put(file, 0);
	put(file, captured);
	put(file, length);
	assert_int_equal(fwrite(bytes, 1, captured, file->to), captured);
}

static int open_capture(struct capture_file *file, struct packet_capture *capture)
{
	int err;

	assert_int_equal(fclose(file->to), 0);
	memset(capture, 0, sizeof(*capture));
	err = packet_capture_open(capture, file->path);
	assert_int_equal(unlink(file->path), 0);
	return err;
}

static void captures_are_read(void **state)
{
	static const uint32_t magics[] = { 0xa1b2c3d4, 0xa1b23c4d };

	(void)state;
	for (size_t i = 0; i < 2 * ARRAY_SIZE(magics); i++) {
		struct packet_capture capture;
		struct capture_file file;
		struct packet packet;

		begin_capture(&file, i & 1, magics[i / 2], 101);
		put_packet(&file, plain, sizeof(plain), sizeof(plain));
		put_packet(&file, plain, 12, sizeof(plain)); /* cut short: zeros */
		put_packet(&file, plain, sizeof(plain), PACKET_MAX + 1);
		put_packet(&file, plain, sizeof(plain), sizeof(plain));
		assert_int_equal(open_capture(&file, &capture), 0);
		assert_int_equal(packet_capture_next(&capture, &packet), 1);
		assert_int_equal(packet.family, AF_INET);
		assert_int_equal(packet.size, PACKET_LINK + sizeof(plain));
		assert_memory_equal(packet.frame + PACKET_LINK, plain, sizeof(plain));
		assert_int_equal(packet_capture_next(&capture, &packet), 1);
		assert_int_equal(packet.size, PACKET_LINK + sizeof(plain));
		assert_int_equal(packet.frame[PACKET_LINK + 12], 0);
		assert_int_equal(packet_capture_next(&capture, &packet), -E2BIG);
		assert_int_equal(packet_capture_next(&capture, &packet), 1);
		assert_int_equal(packet_capture_next(&capture, &packet), 0);
		packet_capture_close(&capture);
	}
}

static void broken_captures_are_refused(void **state)
{
	struct packet_capture capture = { 0 };
	struct capture_file file;
	struct packet packet;

	(void)state;
	assert_int_equal(packet_capture_open(&capture, "/proc/no-such-capture"), -ENOENT);
	begin_capture(&file, false, 0x12345678, 1);
	assert_int_equal(open_capture(&file, &capture), -EINVAL);
	packet_capture_close(&capture);
	begin_capture(&file, false, 0xa1b2c3d4, 105); /* IEEE 802.11 */
	assert_int_equal(open_capture(&file, &capture), -EOPNOTSUPP);
	packet_capture_close(&capture);
	begin_capture(&file, false, 0xa1b2c3d4, 1);
	put_packet(&file, plain, sizeof(plain), sizeof(plain));
	put(&file, 0);
	assert_int_equal(open_capture(&file, &capture), 0);
	assert_int_equal(packet_capture_next(&capture, &packet), 1);
	assert_int_equal(packet_capture_next(&capture, &packet), -EBADMSG);
	packet_capture_close(&capture);
}

static void lengths_of_records_are_judged(void **state)
{
	static const struct {
		uint32_t held, captured, length;
		int wanted;
		bool more; /* the next record is found */
	} records[] = {
		{ sizeof(plain), sizeof(plain), sizeof(plain) - 1, -EINVAL, true },
		{ 0, 0, PACKET_MAX + 1, -E2BIG, true },
		{ 0, 0, 0, -ENODATA, true },
		{ PACKET_LINK, PACKET_LINK, PACKET_LINK, -ENODATA, true },
		{ 1, 1, 1, -ENODATA, true },
		{ 0, 0xfffffff0, 0xfffffff0, -EPROTO, false },
		{ 0, 0x7ffffff0, 0xfffffff0, -EPROTO, false },
		{ 0, 262144, 262144, -EBADMSG, false },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(records); i++) {
		struct packet_capture capture;
		struct capture_file file;
		struct packet packet;

		begin_capture(&file, false, 0xa1b2c3d4, 1);
		put(&file, 0);
		put(&file, 0);
		put(&file, records[i].captured);
		put(&file, records[i].length);
		assert_int_equal(fwrite(plain, 1, records[i].held, file.to), records[i].held);
		put_packet(&file, plain, sizeof(plain), sizeof(plain));
		assert_int_equal(open_capture(&file, &capture), 0);
		assert_int_equal(packet_capture_next(&capture, &packet), records[i].wanted);
		if (records[i].more)
			assert_int_equal(packet_capture_next(&capture, &packet), 1);
		packet_capture_close(&capture);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(descriptions_are_packets),
		cmocka_unit_test(fragments_have_no_ports),
		cmocka_unit_test(lengths_have_bounds),
		cmocka_unit_test(digits_are_packets_or_frames),
		cmocka_unit_test(captures_are_read),
		cmocka_unit_test(broken_captures_are_refused),
		cmocka_unit_test(lengths_of_records_are_judged),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
