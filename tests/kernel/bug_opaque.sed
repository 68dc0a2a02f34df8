# SPDX-License-Identifier: Apache-2.0
# Brings back, as a choice on the kernel's command line, what fs/overlayfs/copy_up.c did before
# "ovl: don't copy up opaqueness": with overlay.bug_opaque=1 a copied-up directory keeps the mark.
s/if (ovl_is_private_xattr(\(.*\), name))$/if (ovl_is_private_xattr(\1, name) \&\& !bug_carries(name))/
/^int ovl_copy_xattr(/i\
static int bug_opaque;\
module_param(bug_opaque, int, 0444);\
MODULE_PARM_DESC(bug_opaque, "Copy the marks of opaque directories up");\
\
static bool bug_carries(const char *name)\
{\
	return bug_opaque \&\& (!strcmp(name, "trusted.overlay.opaque") ||\
			      !strcmp(name, "user.overlay.opaque"));\
}\

