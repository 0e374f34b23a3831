/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What cppcheck is told that the macros of kselftest_harness.h mean: their
 * real text defeats it. Never compiled.
 */
#define TEST(name)			static void name(void)
#define TEST_SIGNAL(name, sig)		static void name(void)
#define TEST_TIMEOUT(name, seconds)	static void name(void)
#define FIXTURE(name)			struct name
#define FIXTURE_VARIANT(name)		struct name##_variant
#define FIXTURE_VARIANT_ADD(name, v)	static const struct name##_variant name##_##v =
#define FIXTURE_ARGS(name)		(struct name *self, const struct name##_variant *variant)
#define FIXTURE_SETUP(name)		static void name##_setup FIXTURE_ARGS(name)
#define FIXTURE_TEARDOWN(name)		static void name##_teardown FIXTURE_ARGS(name)
#define TEST_F(name, test)		static void name##_##test FIXTURE_ARGS(name)
#define TEST_F_SIGNAL(name, test, sig)	static void name##_##test FIXTURE_ARGS(name)
#define TEST_F_TIMEOUT(name, test, s)	static void name##_##test FIXTURE_ARGS(name)
#define TEST_HARNESS_MAIN		int main(void) { return 0; }
#define SKIP(statement, ...)		statement
#define TH_LOG(...)			printf(__VA_ARGS__)

/* A block may follow. */
#define EXPECT_TRUE(a)			if (!(a))
#define EXPECT_FALSE(a)			if (a)
#define EXPECT_EQ(a, b)			if ((a) != (b))
#define EXPECT_NE(a, b)			if ((a) == (b))
#define EXPECT_LT(a, b)			if ((a) >= (b))
#define EXPECT_LE(a, b)			if ((a) > (b))
#define EXPECT_GT(a, b)			if ((a) <= (b))
#define EXPECT_GE(a, b)			if ((a) < (b))
#define EXPECT_STREQ(a, b)		if (strcmp(a, b))
#define EXPECT_NULL(a)			if (a)
#define ASSERT_TRUE			EXPECT_TRUE
#define ASSERT_FALSE			EXPECT_FALSE
#define ASSERT_EQ			EXPECT_EQ
#define ASSERT_NE			EXPECT_NE
#define ASSERT_LT			EXPECT_LT
#define ASSERT_LE			EXPECT_LE
#define ASSERT_GT			EXPECT_GT
#define ASSERT_GE			EXPECT_GE
#define ASSERT_STREQ			EXPECT_STREQ
