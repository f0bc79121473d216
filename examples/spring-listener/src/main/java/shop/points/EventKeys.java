package shop.points;

import java.nio.charset.StandardCharsets;
import java.security.GeneralSecurityException;
import java.security.MessageDigest;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.Map;
import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;

/** The keys that Paybell signs events with: what PAYBELL_EVENT_KEYS is there, as {@code id:secret,id:secret}. */
class EventKeys {
    private final Map<String, byte[]> keys = new HashMap<>();

    EventKeys(String ring) {
        for (String pair : ring.split(",")) {
            int colon = pair.indexOf(':');
            if (colon < 1 || pair.length() - colon <= 32) {
                throw new IllegalArgumentException("Event keys are id:secret,id:secret, a secret has at least 32 bytes.");
            }
            keys.put(pair.substring(0, colon), hmac(utf8(pair.substring(colon + 1)), utf8("paybell pay.events v1")));
        }
    }

    /** Says whether the header {@code paybell-signature} is that of this body, byte for byte as it came. */
    boolean verifies(byte[] body, Object signature) {
        if (!(signature instanceof String text)) {
            return false;
        }
        int colon = text.lastIndexOf(':');
        byte[] key = keys.get(text.substring(0, Math.max(colon, 0)));
        if (key == null) {
            return false;
        }
        String wanted = HexFormat.of().formatHex(hmac(key, body));
        return MessageDigest.isEqual(utf8(wanted), utf8(text.substring(colon + 1)));
    }

    private static byte[] hmac(byte[] key, byte[] covered) {
        try {
            Mac mac = Mac.getInstance("HmacSHA256");
            mac.init(new SecretKeySpec(key, "HmacSHA256"));
            return mac.doFinal(covered);
        } catch (GeneralSecurityException error) {
            throw new IllegalStateException(error); // every Java has HmacSHA256
        }
    }

    private static byte[] utf8(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }
}
