// SPDX-License-Identifier: MIT
/*
 * SHA-256 of memory and, by the system's own program, of a file.
 */
#include <errno.h>
#include <fcntl.h>
#include <nettle/sha2.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "io.h"
#include "sum.h"

extern char **environ;

bool sum_memory(const void *from, size_t size, char text[SUM_TEXT],
		sum_tick_fn tick, void *arg)
{
	const size_t step = 64 << 10;
	uint8_t digest[SHA256_DIGEST_SIZE];
	struct sha256_ctx ctx;
	size_t done, n;

	sha256_init(&ctx);
	for (done = 0; done < size; done += step) {
		if (!tick(arg, done))
			return false;
		sha256_update(&ctx, size - done < step ? size - done : step,
			      (const uint8_t *)from + done);
	}
	sha256_digest(&ctx, sizeof(digest), digest);
	for (n = 0; n < sizeof(digest); n++)
		sprintf(text + 2 * n, "%02x", digest[n]);
	return true;
}

/*
 * The file is sha256sum's standard input, so that no name has to be quoted,
 * and none that sha256sum would escape can confuse us.
 */
static int spawn(struct sum_child *child, const char *path, const int out[2])
{
	posix_spawn_file_actions_t acts;
	int err;

	err = posix_spawn_file_actions_init(&acts);
	if (err)
		return err;
	err = posix_spawn_file_actions_addopen(&acts, STDIN_FILENO, path, O_RDONLY, 0);
	if (!err)
		err = posix_spawn_file_actions_adddup2(&acts, out[1], STDOUT_FILENO);
	if (!err) {
		char name[] = "sha256sum";
		char *argv[2] = { name, NULL };

		err = posix_spawnp(&child->pid, name, &acts, NULL, argv, environ);
	}
	posix_spawn_file_actions_destroy(&acts);
	return err;
}

int sum_start(struct sum_child *child, const char *path)
{
	int out[2], err;

	if (pipe2(out, O_CLOEXEC)) {
		err = errno;
		complain("cannot make a pipe: %s", strerror(err));
		return -err;
	}
	err = spawn(child, path, out);
	close(out[1]);
	if (err) {
		close(out[0]);
		complain("cannot run sha256sum on %s: %s (sha256sum is in coreutils)", path,
			 strerror(err));
		return -err;
	}
	child->from = out[0];
	return 0;
}

static int reap(struct sum_child *child)
{
	int status;

	close(child->from);
	while (waitpid(child->pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return status ? -ECHILD : 0;
}

int sum_wait(struct sum_child *child, char text[SUM_TEXT])
{
	size_t got = 0;
	int err;

	while (got < SUM_TEXT - 1) {
		ssize_t n = read(child->from, text + got, SUM_TEXT - 1 - got);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		got += n;
	}
	text[got] = 0;
	err = reap(child);
	if (!err && strspn(text, "0123456789abcdef") != SUM_TEXT - 1)
		err = -EPROTO;
	if (err)
		complain("sha256sum gave no sum");
	return err;
}

void sum_stop(struct sum_child *child)
{
	kill(child->pid, SIGTERM);
	reap(child);
}
