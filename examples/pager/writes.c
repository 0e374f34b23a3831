// SPDX-License-Identifier: MIT
/*
 * Random writes, their making, finding and undoing.
 */
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io.h"
#include "writes.h"

#define SLOT	sizeof(uint64_t)

/* One in so many goes to the page of the one before, for two threads to meet. */
#define NEAR	4
#define PAGE_SLOTS	(4096 / SLOT)

/* splitmix64: every seed is a good one. */
static uint64_t mix(uint64_t x)
{
	x += 0x9e3779b97f4a7c15;
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
	x = (x ^ x >> 27) * 0x94d049bb133111eb;
	return x ^ x >> 31;
}

/* Other than old in every byte, whatever was there: also after a run with --keep. */
static uint64_t new_value(const struct writes *w, size_t n)
{
	return w->old[n] ^ (mix(w->seed ^ mix(w->slots[n])) | 0x0101010101010101);
}

/* Bytes of a slot: the last one may be cut short by the end of the file. */
static size_t slot_size(const struct writes *w, size_t n)
{
	size_t left = w->size - w->slots[n] * SLOT;

	return left < SLOT ? left : SLOT;
}

static void choose(struct writes *w)
{
	size_t slots = (w->size + SLOT - 1) / SLOT;
	uint64_t random = w->seed;
	size_t n;

	for (n = 0; n < w->count; n++) {
		size_t slot;

		random = mix(random);
		slot = random % slots;
		if (n % NEAR == 1) {
			slot = w->slots[n - 1] / PAGE_SLOTS * PAGE_SLOTS + random % PAGE_SLOTS;
			if (slot >= slots)
				slot = slots - 1;
		}
		w->slots[n] = slot;
	}
	/* The end of the file is the place where a pager errs most easily. */
	if (w->count)
		w->slots[w->count - 1] = slots - 1;
}

int writes_plan(struct writes *w, int file, size_t size, size_t count, uint64_t seed)
{
	size_t n;

	memset(w, 0, sizeof(*w));
	w->file = file;
	w->size = size;
	w->seed = seed;
	w->slots = calloc(count, sizeof(*w->slots));
	w->old = calloc(count, sizeof(*w->old));
	if (!w->slots || !w->old) {
		writes_free(w);
		complain("no memory for a list of %zu writes: ask for fewer", count);
		return -ENOMEM;
	}
	w->count = count;
	choose(w);

	for (n = 0; n < count; n++) {
		int err = io_read(file, &w->old[n], slot_size(w, n), w->slots[n] * SLOT);

		if (err) {
			complain("cannot read the file at byte %zu: %s",
				 w->slots[n] * SLOT, strerror(-err));
			writes_free(w);
			return err;
		}
	}
	return 0;
}

void writes_free(struct writes *w)
{
	free(w->slots);
	free(w->old);
	memset(w, 0, sizeof(*w));
}

struct writer {
	struct writes *writes;
	char *view;
	pthread_t thread;
};

/* Atomic, as two threads may write the same slot; as plain as any store is. */
static void make_one(const struct writes *w, size_t n, char *to)
{
	uint64_t value = new_value(w, n);
	size_t byte;

	if (slot_size(w, n) == SLOT) {
		__atomic_store_n((uint64_t *)to, value, __ATOMIC_RELAXED);
		return;
	}
	for (byte = 0; byte < slot_size(w, n); byte++)
		__atomic_store_n(to + byte, ((char *)&value)[byte], __ATOMIC_RELAXED);
}

static void *make_some(void *arg)
{
	const struct writer *writer = arg;
	struct writes *w = writer->writes;
	size_t n;

	while (!w->stop && (n = w->next++) < w->count) {
		make_one(w, n, writer->view + w->slots[n] * SLOT);
		w->done++;
	}
	return NULL;
}

int writes_make(struct writes *w, void *view, unsigned int threads,
		bool (*tick)(void *arg, size_t done), void *arg)
{
	struct writer writers[WRITES_MAX_THREADS];
	unsigned int started, n;
	int err = 0;

	for (started = 0; started < threads; started++) {
		writers[started] = (struct writer){
			.writes = w,
			.view = view,
		};
		err = -pthread_create(&writers[started].thread, NULL, make_some,
				      &writers[started]);
		if (err) {
			complain("cannot start a thread: %s", strerror(-err));
			w->stop = true;
			break;
		}
	}

	while (!w->stop && w->done < w->count) {
		usleep(50000);
		if (!tick(arg, w->done)) {
			w->stop = true;
			err = -EINTR;
		}
	}
	for (n = 0; n < started; n++)
		pthread_join(writers[n].thread, NULL);
	return err;
}

/* Whether the file has this at the place of a write. */
static bool is_there(const struct writes *w, size_t n, uint64_t value)
{
	uint64_t got;

	return !io_read(w->file, &got, slot_size(w, n), w->slots[n] * SLOT) &&
	       !memcmp(&got, &value, slot_size(w, n));
}

size_t writes_missing(const struct writes *w)
{
	size_t n, missing = 0;

	for (n = 0; n < w->count; n++) {
		if (is_there(w, n, new_value(w, n)))
			continue;
		if (!missing)
			complain("not in the file: the write at byte %zu", w->slots[n] * SLOT);
		missing++;
	}
	return missing;
}

/* What was never written is left alone: it may be a hole, on a full disk. */
size_t writes_undo(const struct writes *w)
{
	size_t n, lost = 0;

	for (n = 0; n < w->count; n++) {
		if (is_there(w, n, w->old[n]))
			continue;
		if (io_write(w->file, &w->old[n], slot_size(w, n), w->slots[n] * SLOT))
			lost++;
	}
	return lost;
}
