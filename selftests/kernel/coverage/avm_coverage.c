// SPDX-License-Identifier: GPL-2.0
/*
 * avm_coverage.c - collects what an avm that counts has executed
 *
 * A module of its own, so that what runs when avm is loaded and unloaded is
 * counted too. It is told of both by the module notifier: the one that says
 * that a module goes comes after its exit function and before its memory goes.
 *
 * Files in debugfs, avm_coverage/: writing to "collect" moves the counters of
 * an avm that is loaded to the files NAME.gcda, which are as gcov(1) wants them
 * and hold the sums over all loads.
 */
#include <linux/debugfs.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "coverage.h"

#define MAX_OBJECTS	64

/* The format of the files. Lengths are in bytes since gcc 12. */
#define TAG_FILE	0x67636461u	/* "gcda" */
#define TAG_FUNCTION	0x01000000u
#define TAG_COUNTERS(kind)	(0x01a10000u + ((u32)(kind) << 17))

struct image {
	char *name;
	struct debugfs_blob_wrapper blob;
};

static DEFINE_MUTEX(lock);	/* guards all below */
static struct coverage_records *records;	/* while avm is loaded */
static struct image images[MAX_OBJECTS];
static struct dentry *dir;

/* What is to be written, or where to write it. */
struct cursor {
	u32 *words;	/* NULL: only count them */
	size_t n;
};

static void put(struct cursor *at, u32 word)
{
	if (at->words)
		at->words[at->n] = word;
	at->n++;
}

/* Add a counter, and take it from where it was: avm may be running. */
static void move(struct cursor *at, s64 *counter)
{
	u64 sum;

	if (at->words) {
		sum = at->words[at->n] | (u64)at->words[at->n + 1] << 32;
		sum += xchg(counter, 0);
		at->words[at->n] = lower_32_bits(sum);
		at->words[at->n + 1] = upper_32_bits(sum);
	}
	at->n += 2;
}

static void write_function(struct cursor *at, const struct coverage_object *object,
			   const struct coverage_function *function)
{
	const struct coverage_counters *counters = function->counters;
	unsigned int kind, i;

	put(at, TAG_FUNCTION);
	put(at, 3 * sizeof(u32));
	put(at, function->ident);
	put(at, function->lines);
	put(at, function->graph);
	for (kind = 0; kind < COVERAGE_KINDS; kind++) {
		if (!object->merge[kind])
			continue;
		put(at, TAG_COUNTERS(kind));
		put(at, counters->n * 2 * sizeof(u32));
		for (i = 0; i < counters->n; i++)
			move(at, &counters->values[i]);
		counters++;
	}
}

static size_t write_object(u32 *words, const struct coverage_object *object)
{
	struct cursor at = { .words = words };
	unsigned int i;

	put(&at, TAG_FILE);
	put(&at, object->version);
	put(&at, object->stamp);
	put(&at, object->checksum);
	for (i = 0; i < object->n_functions; i++) {
		/* Of the same function in several objects, one is used. */
		if (object->functions[i] && object->functions[i]->key == object)
			write_function(&at, object, object->functions[i]);
	}
	return at.n * sizeof(u32);
}

/* The sums begin with zeros. */
static int image_make(struct image *image, const struct coverage_object *object)
{
	image->blob.size = write_object(NULL, object);
	image->blob.data = kvzalloc(image->blob.size, GFP_KERNEL);
	image->name = kstrdup(kbasename(object->filename), GFP_KERNEL);
	if (!image->blob.data || !image->name)
		return -ENOMEM;
	debugfs_create_blob(image->name, 0400, dir, &image->blob);
	return 0;
}

static int collect(void)
{
	struct coverage_object **object;
	struct image *image = images;
	int err;

	lockdep_assert_held(&lock);
	if (!records)
		return 0;
	/* Padding between objects, if there is any, is zeros. */
	for (object = records->first; object < records->last; object++) {
		if (!*object)
			continue;
		if (image == images + MAX_OBJECTS)
			return -E2BIG;
		if (!image->blob.data) {
			err = image_make(image, *object);
			if (err)
				return err;
		}
		write_object(image->blob.data, *object);
		image++;
	}
	return 0;
}

static ssize_t collect_write(struct file *file, const char __user *user,
			     size_t n, loff_t *pos)
{
	int err;

	mutex_lock(&lock);
	err = collect();
	mutex_unlock(&lock);
	return err ?: n;
}

static const struct file_operations collect_fops = {
	.owner = THIS_MODULE,
	.write = collect_write,
};

/* No reference is kept: avm is to be unloaded, which we hear of in time. */
static void find_records(void)
{
	lockdep_assert_held(&lock);
	records = __symbol_get("avm_coverage_records");
	if (records)
		__symbol_put("avm_coverage_records");
}

static int notified(struct notifier_block *nb, unsigned long state, void *data)
{
	struct module *module = data;

	if (strcmp(module->name, "avm"))
		return NOTIFY_DONE;
	mutex_lock(&lock);
	if (state == MODULE_STATE_LIVE) {
		find_records();
	} else if (state == MODULE_STATE_GOING) {
		WARN_ON_ONCE(collect());
		records = NULL;
	}
	mutex_unlock(&lock);
	return NOTIFY_DONE;
}

static struct notifier_block notifier = {
	.notifier_call = notified,
};

static int __init coverage_init(void)
{
	int err;

	dir = debugfs_create_dir("avm_coverage", NULL);
	debugfs_create_file("collect", 0200, dir, NULL, &collect_fops);
	err = register_module_notifier(&notifier);
	if (err) {
		debugfs_remove(dir);
		return err;
	}
	mutex_lock(&lock);
	find_records();
	mutex_unlock(&lock);
	return 0;
}

static void __exit coverage_exit(void)
{
	struct image *image;

	unregister_module_notifier(&notifier);
	debugfs_remove(dir);
	for (image = images; image < images + MAX_OBJECTS; image++) {
		kvfree(image->blob.data);
		kfree(image->name);
	}
}

module_init(coverage_init);
module_exit(coverage_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Collects what an avm that counts has executed");
