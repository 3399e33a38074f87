// SPDX-License-Identifier: Apache-2.0
// java Ask.java HOST PORT COUNT: as many requests on sockets of their own, which Java makes for
// both families and so connects to ::ffff:HOST; prints who answered.
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.net.Socket;

public class Ask {
    public static void main(String[] args) throws Exception {
        for (int i = 0; i < Integer.parseInt(args[2]); i++) {
            try (Socket s = new Socket(args[0], Integer.parseInt(args[1]))) {
                s.getOutputStream().write("GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".getBytes());
                BufferedReader in = new BufferedReader(new InputStreamReader(s.getInputStream()));
                for (String line = in.readLine(); line != null; line = in.readLine())
                    if (line.toLowerCase().startsWith("x-inference-pod: "))
                        System.out.println(line.substring(17));
            }
        }
    }
}
