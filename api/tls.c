#include "api/tls.h"

#include <errno.h>
#include <gnutls/abstract.h>
#include <gnutls/gnutls.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/slice.h"
#include "sys/clock.h"
#include "sys/vfs.h"

enum { FILE_MAX = 1 << 20, CHAIN_MAX = 16, LOOK_AGAIN_MS = 1000, PRIORITIES_MAX = 1024 };

/* What a file was when it was read: another one means it has changed. */
struct seen {
    struct timespec mtime;
    off_t size;
    ino_t inode;
};

struct ks_tls {
    char *cert_file, *key_file;
    char priorities[PRIORITIES_MAX];
    gnutls_priority_t priority;
    gnutls_certificate_credentials_t cred;
    pthread_mutex_t lock; /* what follows */
    char *cert, *key;     /* as read; they belong together */
    size_t cert_bytes, key_bytes;
    struct seen cert_seen, key_seen;
    int64_t looked_mono_ms;
    int slot; /* of the callbacks for HTTP; -1: none */
};

struct ks_tls_conn {
    gnutls_session_t session;
    bool greeted;
};

/* --- versions and suites --- */

/* TLS before 1.3: suite = key exchange, cipher, hash. */
static const struct suite {
    const char *name;
    unsigned id;
    const char *kx, *cipher, *mac;
} suites[] = {
    {"TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA", 0xc009, "ECDHE-ECDSA", "AES-128-CBC", "SHA1"},
    {"TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA", 0xc00a, "ECDHE-ECDSA", "AES-256-CBC", "SHA1"},
    {"TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA", 0xc013, "ECDHE-RSA", "AES-128-CBC", "SHA1"},
    {"TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA", 0xc014, "ECDHE-RSA", "AES-256-CBC", "SHA1"},
    {"TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", 0xc02b, "ECDHE-ECDSA", "AES-128-GCM", "AEAD"},
    {"TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", 0xc02c, "ECDHE-ECDSA", "AES-256-GCM", "AEAD"},
    {"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", 0xc02f, "ECDHE-RSA", "AES-128-GCM", "AEAD"},
    {"TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", 0xc030, "ECDHE-RSA", "AES-256-GCM", "AEAD"},
    {"TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", 0xcca8, "ECDHE-RSA", "CHACHA20-POLY1305",
     "AEAD"},
    {"TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", 0xcca9, "ECDHE-ECDSA", "CHACHA20-POLY1305",
     "AEAD"},
    /* Those of TLS 1.3 are always on. */
    {"TLS_AES_128_GCM_SHA256", 0x1301, NULL, "AES-128-GCM", "AEAD"},
    {"TLS_AES_256_GCM_SHA384", 0x1302, NULL, "AES-256-GCM", "AEAD"},
    {"TLS_CHACHA20_POLY1305_SHA256", 0x1303, NULL, "CHACHA20-POLY1305", "AEAD"},
};

static const struct suite *suite_of(const char *text)
{
    char *end;
    unsigned long id = strtoul(text, &end, 0);
    for (size_t i = 0; i < sizeof suites / sizeof *suites; i++)
        if (strcasecmp(text, suites[i].name) == 0 || (*text && !*end && id == suites[i].id))
            return &suites[i];
    return NULL;
}

static void add(char out[PRIORITIES_MAX], const char *prefix, const char *word)
{
    size_t n = strlen(out);
    char item[64];
    snprintf(item, sizeof item, ":+%s%s", prefix, word);
    if (!strstr(out, item) || strstr(out, item)[strlen(item)])
        snprintf(out + n, PRIORITIES_MAX - n, "%s", item);
}

static ks_err build_priorities(const struct ks_tls_opts *o, char out[PRIORITIES_MAX])
{
    static const char *const versions[] = {"TLS13", "TLS12", "TLS11", "TLS10"};
    static const char *const words[] = {"TLS1.3", "TLS1.2", "TLS1.1", "TLS1.0"};
    const char *min = o->min_version && o->min_version[0] ? o->min_version : "TLS12";
    size_t last = 0;
    while (last < 4 && strcasecmp(min, versions[last]) != 0)
        last++;
    if (last == 4)
        return ks_fail(KS_EINVAL, "TLS version \"%s\": want TLS10, TLS11, TLS12 or TLS13", min);
    snprintf(out, PRIORITIES_MAX, "NORMAL:-VERS-ALL");
    for (size_t i = 0; i <= last; i++)
        add(out, "VERS-", words[i]);
    for (size_t i = 0; i < o->suite_count; i++) {
        const struct suite *s = suite_of(o->suites[i]);
        if (!s)
            return ks_fail(KS_EINVAL, "TLS cipher suite \"%s\" is not known or not safe",
                           o->suites[i]);
        if (i == 0 && last > 0) {
            size_t n = strlen(out);
            snprintf(out + n, PRIORITIES_MAX - n, ":-KX-ALL:-CIPHER-ALL:-MAC-ALL");
        }
        if (last == 0)
            continue; /* TLS 1.3 alone: there is nothing to choose */
        if (s->kx)
            add(out, "", s->kx);
        add(out, "", s->cipher);
        add(out, "", s->mac);
    }
    return KS_OK;
}

/* --- files --- */

static bool look(const char *path, struct seen *ret)
{
    struct stat st;
    if (stat(path, &st) != 0)
        return false;
    *ret = (struct seen){st.st_mtim, st.st_size, st.st_ino};
    return true;
}

static bool same(const struct seen *a, const struct seen *b)
{
    return a->mtime.tv_sec == b->mtime.tv_sec && a->mtime.tv_nsec == b->mtime.tv_nsec &&
           a->size == b->size && a->inode == b->inode;
}

/* What a handshake needs, made from the bytes. GnuTLS frees it after the handshake. */
static int parse(const char *cert, size_t cert_bytes, const char *key, size_t key_bytes,
                 gnutls_pcert_st **ret_chain, unsigned *ret_count, gnutls_privkey_t *ret_key)
{
    gnutls_datum_t c = {(unsigned char *)(uintptr_t)cert, (unsigned)cert_bytes};
    gnutls_datum_t k = {(unsigned char *)(uintptr_t)key, (unsigned)key_bytes};
    gnutls_pcert_st *chain = gnutls_calloc(CHAIN_MAX, sizeof *chain);
    gnutls_privkey_t priv = NULL;
    unsigned n = CHAIN_MAX;
    if (!chain)
        return GNUTLS_E_MEMORY_ERROR;
    int rc = gnutls_pcert_list_import_x509_raw(chain, &n, &c, GNUTLS_X509_FMT_PEM, 0);
    if (rc < 0) {
        gnutls_free(chain);
        return rc;
    }
    rc = gnutls_privkey_init(&priv);
    if (rc == 0)
        rc = gnutls_privkey_import_x509_raw(priv, &k, GNUTLS_X509_FMT_PEM, NULL, 0);
    if (rc < 0) {
        for (unsigned i = 0; i < n; i++)
            gnutls_pcert_deinit(&chain[i]);
        gnutls_free(chain);
        gnutls_privkey_deinit(priv);
        return rc;
    }
    *ret_chain = chain;
    *ret_count = n;
    *ret_key = priv;
    return 0;
}

/* Whether the key is that of the certificate, and both are well formed. */
static ks_err check_pair(const struct ks_tls *t, const char *cert, size_t cert_bytes,
                         const char *key, size_t key_bytes)
{
    gnutls_certificate_credentials_t cred;
    gnutls_datum_t c = {(unsigned char *)(uintptr_t)cert, (unsigned)cert_bytes};
    gnutls_datum_t k = {(unsigned char *)(uintptr_t)key, (unsigned)key_bytes};
    int rc = gnutls_certificate_allocate_credentials(&cred);
    if (rc < 0)
        return KS_ENOMEM;
    rc = gnutls_certificate_set_x509_key_mem2(cred, &c, &k, GNUTLS_X509_FMT_PEM, NULL, 0);
    gnutls_certificate_free_credentials(cred);
    return rc >= 0 ? KS_OK
                   : ks_fail(KS_EINVAL, "TLS certificate %s with key %s: %s", t->cert_file,
                             t->key_file, gnutls_strerror(rc));
}

/* Reads both; what was there stays when they do not do. Under lock. */
static ks_err load(struct ks_tls *t)
{
    struct seen cert_seen = {0}, key_seen = {0};
    char *cert = NULL, *key = NULL;
    size_t cert_bytes, key_bytes;
    (void)look(t->cert_file, &cert_seen); /* before reading: a change meanwhile is seen later */
    (void)look(t->key_file, &key_seen);
    ks_err err = ks_vfs_read_file(ks_vfs_posix(), t->cert_file, FILE_MAX, &cert, &cert_bytes);
    if (err == KS_OK)
        err = ks_vfs_read_file(ks_vfs_posix(), t->key_file, FILE_MAX, &key, &key_bytes);
    if (err == KS_OK)
        err = check_pair(t, cert, cert_bytes, key, key_bytes);
    if (err != KS_OK) {
        ks_free(cert);
        ks_free(key);
        return err;
    }
    ks_free(t->cert);
    ks_free(t->key);
    t->cert = cert;
    t->key = key;
    t->cert_bytes = cert_bytes;
    t->key_bytes = key_bytes;
    t->cert_seen = cert_seen;
    t->key_seen = key_seen;
    return KS_OK;
}

/* Under lock. */
static void refresh(struct ks_tls *t)
{
    struct seen cert, key;
    int64_t now = ks_mono_ms();
    if (now - t->looked_mono_ms < LOOK_AGAIN_MS)
        return;
    t->looked_mono_ms = now;
    if (look(t->cert_file, &cert) && look(t->key_file, &key) && same(&cert, &t->cert_seen) &&
        same(&key, &t->key_seen))
        return;
    if (load(t) != KS_OK)
        ks_log_limited(60000, KS_LOG_ERROR, "api",
                       "the TLS certificate in use stays, the new one cannot be read: %s",
                       ks_err_text());
    else
        ks_log(KS_LOG_INFO, "api", "TLS certificate read again file=%s", t->cert_file);
}

/* The certificate for a handshake. GnuTLS frees it. */
static int give(struct ks_tls *t, gnutls_pcert_st **chain, unsigned *count,
                gnutls_ocsp_data_st **ocsp, unsigned *ocsp_count, gnutls_privkey_t *key,
                unsigned *flags)
{
    pthread_mutex_lock(&t->lock);
    refresh(t);
    int rc = parse(t->cert, t->cert_bytes, t->key, t->key_bytes, chain, count, key);
    pthread_mutex_unlock(&t->lock);
    *ocsp = NULL;
    *ocsp_count = 0;
    *flags = GNUTLS_CERT_RETR_DEINIT_ALL;
    return rc;
}

/* --- for libmicrohttpd --- */

static struct ks_tls *_Atomic slots[KS_TLS_HTTP_MAX];

#define RETRIEVE_ARGS                                                                              \
    gnutls_session_t session, const struct gnutls_cert_retr_st *info, gnutls_pcert_st **chain,     \
        unsigned *count, gnutls_ocsp_data_st **ocsp, unsigned *ocsp_count, gnutls_privkey_t *key,  \
        unsigned *flags
#define SLOT(i)                                                                                    \
    static int retrieve_##i(RETRIEVE_ARGS)                                                         \
    {                                                                                              \
        return give(slots[i], chain, count, ocsp, ocsp_count, key, flags);                         \
    }
#define ALL_SLOTS(X)                                                                               \
    X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15)
ALL_SLOTS(SLOT)
#define NAME(i) retrieve_##i,
static gnutls_certificate_retrieve_function3 *const callbacks[KS_TLS_HTTP_MAX] = {ALL_SLOTS(NAME)};

ks_err ks_tls_http_callback(struct ks_tls *t, void **ret)
{
    for (int i = 0; i < KS_TLS_HTTP_MAX; i++) {
        struct ks_tls *none = NULL;
        if (t->slot != i && !atomic_compare_exchange_strong(&slots[i], &none, t))
            continue;
        t->slot = i;
        memcpy(ret, &callbacks[i], sizeof *ret);
        return KS_OK;
    }
    return ks_fail(KS_ELIMIT, "more than %d addresses with TLS", KS_TLS_HTTP_MAX);
}

const char *ks_tls_priorities(const struct ks_tls *t)
{
    return t->priorities;
}

/* --- making --- */

static int retrieve_by_session(RETRIEVE_ARGS)
{
    return give(gnutls_session_get_ptr(session), chain, count, ocsp, ocsp_count, key, flags);
}

static ks_err init(struct ks_tls *t, const struct ks_tls_opts *o)
{
    if (!o->cert_file || !o->cert_file[0] || !o->key_file || !o->key_file[0])
        return ks_fail(KS_EINVAL, "TLS wants a certificate file and a key file");
    t->cert_file = ks_strdup(o->cert_file);
    t->key_file = ks_strdup(o->key_file);
    if (!t->cert_file || !t->key_file)
        return KS_ENOMEM;
    KS_TRY(build_priorities(o, t->priorities));
    KS_TRY(load(t));
    t->looked_mono_ms = ks_mono_ms();
    const char *at = NULL;
    int rc = gnutls_priority_init(&t->priority, t->priorities, &at);
    if (rc == 0)
        rc = gnutls_certificate_allocate_credentials(&t->cred);
    if (rc < 0)
        return ks_fail(KS_EINVAL, "TLS \"%s\": %s", t->priorities, gnutls_strerror(rc));
    gnutls_certificate_set_retrieve_function3(t->cred, retrieve_by_session);
    return KS_OK;
}

ks_err ks_tls_new(const struct ks_tls_opts *opts, struct ks_tls **ret)
{
    struct ks_tls *t = ks_zalloc(sizeof *t);
    if (!t)
        return KS_ENOMEM;
    t->slot = -1;
    pthread_mutex_init(&t->lock, NULL);
    ks_err err = init(t, opts);
    if (err != KS_OK) {
        ks_tls_free(t);
        return err;
    }
    *ret = t;
    return KS_OK;
}

void ks_tls_free(struct ks_tls *t)
{
    if (!t)
        return;
    if (t->slot >= 0)
        atomic_store(&slots[t->slot], NULL);
    if (t->cred)
        gnutls_certificate_free_credentials(t->cred);
    if (t->priority)
        gnutls_priority_deinit(t->priority);
    pthread_mutex_destroy(&t->lock);
    ks_free(t->cert);
    ks_free(t->key);
    ks_free(t->cert_file);
    ks_free(t->key_file);
    ks_free(t);
}

/* --- connections --- */

ks_err ks_tls_conn_new(struct ks_tls *t, int fd, struct ks_tls_conn **ret)
{
    struct ks_tls_conn *c = ks_zalloc(sizeof *c);
    if (!c)
        return KS_ENOMEM;
    int rc = gnutls_init(&c->session, GNUTLS_SERVER | GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL);
    if (rc == 0)
        rc = gnutls_priority_set(c->session, t->priority);
    if (rc == 0)
        rc = gnutls_credentials_set(c->session, GNUTLS_CRD_CERTIFICATE, t->cred);
    if (rc < 0) {
        ks_tls_conn_free(c);
        return ks_fail(KS_ENOMEM, "TLS: %s", gnutls_strerror(rc));
    }
    gnutls_session_set_ptr(c->session, t);
    gnutls_transport_set_int(c->session, fd);
    gnutls_handshake_set_timeout(c->session, GNUTLS_INDEFINITE_TIMEOUT);
    *ret = c;
    return KS_OK;
}

void ks_tls_conn_free(struct ks_tls_conn *c)
{
    if (!c)
        return;
    if (c->session) {
        if (c->greeted) /* the farewell, if there is room for it */
            (void)gnutls_bye(c->session, GNUTLS_SHUT_WR);
        gnutls_deinit(c->session);
    }
    ks_free(c);
}

/* A code of GnuTLS as read(2) would say it. */
static ssize_t outcome(struct ks_tls_conn *c, ssize_t rc, const char *what, bool *ret_ended)
{
    if (rc == GNUTLS_E_AGAIN) {
        errno = EAGAIN;
        return -1;
    }
    *ret_ended = true;
    if (rc == 0 || rc == GNUTLS_E_PREMATURE_TERMINATION || rc == GNUTLS_E_PUSH_ERROR ||
        rc == GNUTLS_E_PULL_ERROR)
        return 0;
    (void)gnutls_alert_send_appropriate(c->session, (int)rc);
    ks_err err = ks_fail(KS_EINVAL, "TLS %s: %s", what, gnutls_strerror((int)rc));
    errno = EPROTO;
    return err == KS_OK ? 0 : -1;
}

static bool is_final(ssize_t rc)
{
    return rc == 0 || rc == GNUTLS_E_AGAIN || gnutls_error_is_fatal((int)rc);
}

ssize_t ks_tls_read(struct ks_tls_conn *c, void *buf, size_t room, bool *ret_ended)
{
    size_t got = 0;
    while (!c->greeted) {
        int rc = gnutls_handshake(c->session);
        c->greeted = rc == 0;
        if (rc < 0 && is_final(rc))
            return outcome(c, rc, "handshake", ret_ended);
    }
    while (got == 0 || room - got >= KS_TLS_RECORD_BYTES) {
        ssize_t rc = gnutls_record_recv(c->session, (char *)buf + got, room - got);
        if (rc > 0) {
            got += (size_t)rc;
        } else if (is_final(rc)) {
            rc = outcome(c, rc, "record", ret_ended);
            return got ? (ssize_t)got : rc;
        }
        /* Else a warning, a request to renegotiate, which is not granted, or an interruption. */
    }
    return (ssize_t)got;
}

bool ks_tls_wants_write(const struct ks_tls_conn *c)
{
    return gnutls_record_get_direction(c->session) == 1;
}
