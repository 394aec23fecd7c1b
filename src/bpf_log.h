/* SPDX-License-Identifier: GPL-2.0-only */
/* libbpf's messages, the verifier's log among them: shown at --log-level debug. */
#ifndef BPFW_BPF_LOG_H
#define BPFW_BPF_LOG_H

/* From now on. libbpf has one receiver of messages in a process. */
void bpf_log_take(void);

#endif /* BPFW_BPF_LOG_H */
